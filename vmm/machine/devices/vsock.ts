import { resolve } from 'node:path';
import { VsockPorts } from '../../backends/vsock/vsock-ports.ts';
import { VsockDevice } from '../../devices/virtio/vsock/vsock-device.ts';
import { openSocketFile } from '../../host/socket-file.ts';
import { vsockWorker } from '../../kvm/queue-workers.ts';
import { createNativeVsock } from '../../kvm/vsock.ts';
import type { Assembly } from '../assembly.ts';
import { attachVirtio } from './virtio.ts';

/** Receive, transmit, event. */
const QUEUE_COUNT = 3;
/** `_` and a port are appended for connections of the guest. */
const PATH_BYTES_MAX = 96;

export function attachVsock(assembly: Assembly): void {
  const { machine, config } = assembly;
  if (config.vsock === undefined) return;
  const { guestCid, socketPath } = config.vsock;
  const file =
    socketPath === undefined
      ? undefined
      : openSocketFile('the vsock socket', resolve(socketPath), PATH_BYTES_MAX);
  if (file !== undefined) machine.own(() => file.close());
  const native = createNativeVsock({
    guestCid,
    path: file?.path ?? '',
    listener: file?.fd ?? null,
    onAccepted: () => machine.contain(() => ports.acceptArrived()),
  });
  machine.own(() => native.close());
  const ports = new VsockPorts(native);
  machine.vsock = ports;
  attachVirtio(assembly, assembly.placements.allocate(), QUEUE_COUNT, (host) => {
    return new VsockDevice({
      id: 'vsock',
      guestCid,
      connections: native,
      createWorker: vsockWorker(host, native),
    });
  });
}
