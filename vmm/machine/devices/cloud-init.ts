import { BytesDisk } from '../../backends/disk/machine/bytes-disk.ts';
import { BlockDevice } from '../../devices/virtio/block/block-device.ts';
import { blockWorker } from '../../kvm/queue-workers.ts';
import { KvmRateLimiter } from '../../kvm/rate-limiter.ts';
import type { Assembly } from '../assembly.ts';
import { seedDisk } from '../cloud-init/seed.ts';
import { DiskSlot } from './disk-slot.ts';
import { attachVirtio } from './virtio.ts';

const ID = 'cloud-init';

/** A read-only disk with the settings for cloud-init, after the disks of the configuration. */
export function attachCloudInit(assembly: Assembly): void {
  const { cloudInit } = assembly.config;
  if (cloudInit === undefined) return;
  const { machine } = assembly;
  const { logger } = assembly.host;
  const placement = assembly.placements.allocate();
  const slot = new DiskSlot({
    backend: new BytesDisk(seedDisk(cloudInit)),
    contain: (action) => machine.contain(action),
    onFailure: (failure) => logger.warn(`the disk for cloud-init: ${failure}`),
    onFatal: (error) => machine.fail(error),
  });
  machine.own(() => slot.close());
  attachVirtio(assembly, placement, 1, (host) => {
    const { sizeBytes, readOnly } = slot.backend;
    const createWorker = blockWorker(host, slot.disk, 'threads', new KvmRateLimiter({}));
    const queues = { queueCount: 1, workerCount: 1 };
    return new BlockDevice({ id: ID, sizeBytes, readOnly, ...queues, serialId: ID, createWorker });
  });
}
