import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { diskFormat } from '../../backends/disk/image/format.ts';
import type { DiskBackend } from '../../backends/disk/machine/disk.ts';
import { JoinedFilesDisk } from '../../backends/disk/machine/joined-files.ts';
import { openDisk } from '../../backends/disk/machine/open-disk.ts';
import { RemovedDisk } from '../../backends/disk/machine/removed-disk.ts';
import { BlockDevice, blockQueueCount } from '../../devices/virtio/block/block-device.ts';
import { hostFiles } from '../../host/host-files.ts';
import { hasIoUring } from '../../host/io-uring.ts';
import { blockWorker } from '../../kvm/queue-workers.ts';
import { KvmRateLimiter } from '../../kvm/rate-limiter.ts';
import { RateLimit } from '../../observability/rate-limit.ts';
import type { Assembly } from '../assembly.ts';
import type { ResolvedDisk } from '../config.ts';
import { deviceIds } from '../device-ids.ts';
import { type DevicePlace, DeviceScope } from '../device-scope.ts';
import { type Placed, placed } from '../placement.ts';
import { AttachedDisk } from './attached-disk.ts';
import { DiskSlot } from './disk-slot.ts';
import { attachVirtio } from './virtio.ts';

export async function attachDisks(assembly: Assembly): Promise<void> {
  const { disks } = assembly.config;
  const ids = deviceIds('disk', disks);
  for (const [index, disk] of disks.entries()) {
    const placement = assembly.placements.allocateRemovable(disk.slot);
    await attachDisk(assembly, placed(disk, ids[index] ?? '', placement), {
      placement,
      scope: new DeviceScope(assembly.machine),
    });
  }
}

/** Attaches a disk to a machine, and adds it to its controls. The scope has all that it has open. */
export async function attachDisk(
  assembly: Assembly,
  config: Placed<ResolvedDisk>,
  { placement, scope }: DevicePlace,
): Promise<void> {
  const { id } = config;
  const { machine } = assembly;
  const { logger } = assembly.host;
  const { disks } = machine.controls;
  const open = (disk: ResolvedDisk) =>
    openBackend(disk, (message) => logger.warn(`${pathOf(disk)}: ${message}`));
  // A full disk fails request after request: once is enough.
  const failures = new RateLimit(1, 60_000);
  const slot = new DiskSlot({
    backend: await open(config),
    contain: (action) => machine.contain(action),
    onFailure: (failure) => {
      const problem = failure instanceof Error ? failure.message : `${failure}`;
      const path = pathOf(disks.get(id)?.config ?? config);
      failures.log(logger.warn, `${path}: ${problem}; the guest is told of an I/O error`);
    },
    onFatal: (error) => machine.fail(error),
  });
  scope.own(() => slot.close());
  const limiter = new KvmRateLimiter(('limits' in config && config.limits) || {});
  const engine = hasIoUring() ? 'io_uring' : 'threads';
  const queueCount = blockQueueCount(assembly.config.cpus);
  attachVirtio(
    assembly,
    placement,
    queueCount,
    (host) => {
      const { sizeBytes, readOnly } = slot.backend;
      const device = new BlockDevice({
        id,
        sizeBytes,
        readOnly,
        queueCount,
        workerCount: diskWorkerCount(assembly.config.cpus),
        serialId: id,
        replacesSaved: assembly.host.replacesDisks === true,
        createWorker: blockWorker(host, slot.disk, engine, limiter),
      });
      // Once all requests are complete.
      const flush = () => device.reset().then(() => slot.flush());
      const close = () => flush().finally(() => scope.close());
      // Drivers wait for all their requests when they let go of a disk: these must not get lost.
      const fail = () =>
        device.replaceDisk(async () => {
          await slot.replace(new RemovedDisk(slot.backend));
          return slot.backend.sizeBytes;
        });
      if (placement.kind === 'pci') assembly.removable.set(id, { placement, close, fail });
      disks.set(id, new AttachedDisk({ id, config, machine, device, slot, limiter, open }));
      return device;
    },
    scope,
  );
}

/**
 * Threads of a disk. A thread serves a kick while the kicking vCPU waits: vCPUs then do not wait for
 * each other.
 */
export function diskWorkerCount(cpus: number): number {
  return Math.min(blockQueueCount(cpus), availableParallelism());
}

function pathOf(disk: ResolvedDisk): string {
  return 'files' in disk ? (disk.files[0] ?? '') : disk.path;
}

async function openBackend(
  config: ResolvedDisk,
  warn: (message: string) => void,
): Promise<DiskBackend> {
  if ('files' in config) return new JoinedFilesDisk(config.files, hostFiles());
  const { path, format, limits: _limits, id: _id, slot: _slot, ...options } = config;
  return await openDisk(resolve(path), {
    ...options,
    format: diskFormat(path, format),
    hostFiles: hostFiles(),
    warn,
  });
}
