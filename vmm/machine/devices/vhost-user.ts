import { VhostUserBackend, type VhostUserProcess } from '../../backends/vhost-user/backend.ts';
import type { ConfigSpace } from '../../devices/virtio/config-space.ts';
import { VhostUserDevice } from '../../devices/virtio/vhost-user/vhost-user-device.ts';
import { errorText } from '../../errors.ts';
import { vhostWorker } from '../../kvm/queue-workers.ts';
import { createVhostQueues } from '../../kvm/vhost-queues.ts';
import type { Assembly } from '../assembly.ts';
import { attachVirtio } from './virtio.ts';

/** For backends, the shadow rings are beyond all guest memory. */
const RINGS_ADDRESS = 2 ** 46;

export interface VhostUserDeviceConfig {
  readonly id: string;
  /** Virtio 1.2, section 5. */
  readonly deviceId: number;
  /** The device type's features, of which the driver is offered those that the backend has. */
  readonly features: bigint;
  readonly queueCount: number;
  /** A power of two. */
  readonly queueSize: number;
  readonly config: ConfigSpace;
  /** Starts a backend process. */
  readonly launch: () => VhostUserProcess;
}

/**
 * Attaches a device that a vhost-user backend serves. Guest memory must be shared. When the backend
 * fails, the device needs a reset, and everything else goes on.
 * @throws TsvmError `backend-failed`
 */
export async function attachVhostUser(
  assembly: Assembly,
  device: VhostUserDeviceConfig,
): Promise<void> {
  const { machine, memory, host } = assembly;
  const { id, deviceId, queueCount, queueSize, config, launch } = device;
  const queues = createVhostQueues({
    threadName: `tsvm-${id}`.slice(0, 15),
    queueCount,
    queueSize,
    ringsAddress: RINGS_ADDRESS,
  });
  machine.own(() => queues.close());
  const shared = queues.shared();
  const fds = memory.fds();
  const failed = Promise.withResolvers<string>();
  const { controls } = machine;
  const others = controls.backendFailed;
  controls.backendFailed =
    others === undefined ? failed.promise : Promise.race([others, failed.promise]);
  const backend = await VhostUserBackend.open({
    launch,
    queueSize,
    memory: [
      ...memory.regions.map(({ gpa, sizeBytes }, index) => {
        return { address: gpa, sizeBytes, fd: fds[index] ?? -1 };
      }),
      { address: RINGS_ADDRESS, sizeBytes: shared.bytes, fd: shared.fd },
    ],
    rings: queues.rings(),
    resetRings: () => queues.reset(),
    onFailed: (reason) => {
      host.logger.error(`${id}: its backend process failed (${reason}): the device needs a reset`);
      queues.fail();
      failed.resolve(`${id}: ${reason}`);
    },
  });
  machine.own(() => backend.stop());
  attachVirtio(assembly, assembly.placements.allocate(), queueCount, (queueHost) => {
    return new VhostUserDevice({
      id,
      deviceId,
      features: device.features & backend.features,
      queueSizes: Array.from({ length: queueCount }, () => queueSize),
      config,
      backend: {
        start: (features) => {
          try {
            backend.start(features);
          } catch (error) {
            failed.resolve(`${id}: ${errorText(error)}`);
            throw error;
          }
        },
        stop: () => backend.stop(),
        abandon: () => queues.fail(),
      },
      createWorker: vhostWorker(queueHost, queues),
    });
  });
}
