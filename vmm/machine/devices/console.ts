import { resolve } from 'node:path';
import { PortSocket } from '../../backends/console/port-socket.ts';
import { ConsoleDevice, consoleQueueCount } from '../../devices/virtio/console/console-device.ts';
import { scriptQueues } from '../../kvm/queue-workers.ts';
import type { Assembly } from '../assembly.ts';
import { attachVirtio } from './virtio.ts';

/** The console and the named ports that the configuration asks for. */
export function attachConsole(assembly: Assembly): void {
  const { machine, config, host } = assembly;
  const hasConsole = config.console === 'virtio';
  const sockets = config.ports.map(({ name, socketPath }, index) => {
    const socket = new PortSocket(resolve(socketPath), {
      onOpen: (open) => machine.contain(() => device.setHostOpen(index + 1, open)),
      onInput: (bytes) => machine.contain(() => device.receive(index + 1, bytes)) ?? true,
    });
    machine.own(() => socket.close());
    return { name, host: socket };
  });
  let device: ConsoleDevice;
  const placement = assembly.placements.allocate();
  attachVirtio(assembly, placement, consoleQueueCount(sockets.length), (queueHost) => {
    device = new ConsoleDevice({
      id: 'console',
      createQueues: scriptQueues(queueHost),
      console: hasConsole ? host.console : undefined,
      ports: sockets,
    });
    return device;
  });
  if (!hasConsole) return;
  host.console.startInput((bytes) => machine.contain(() => device.receive(0, bytes)) ?? false);
  machine.controls.resizeConsole = (columns, rows) => device.resize(columns, rows);
}
