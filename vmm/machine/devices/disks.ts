import { resolve } from 'node:path';
import { diskFormat } from '../../backends/disk/image/format.ts';
import {
  closeDisk,
  type DiskBackend,
  failureText,
  resolveScriptRequests,
} from '../../backends/disk/machine/disk.ts';
import { JoinedFilesDisk } from '../../backends/disk/machine/joined-files.ts';
import { openDisk } from '../../backends/disk/machine/open-disk.ts';
import { BlockDevice, blockQueueCount } from '../../devices/virtio/block/block-device.ts';
import { hostFiles } from '../../host/host-files.ts';
import { hasIoUring } from '../../host/io-uring.ts';
import { attachNativeDisk } from '../../kvm/disk.ts';
import { blockWorker } from '../../kvm/queue-workers.ts';
import { KvmRateLimiter } from '../../kvm/rate-limiter.ts';
import { RateLimit } from '../../observability/rate-limit.ts';
import type { Assembly } from '../assembly.ts';
import type { ResolvedDisk } from '../config.ts';
import { checkRateLimits } from '../rate-limits.ts';
import { attachVirtio } from './virtio.ts';

type DiskEngine = 'io_uring' | 'threads';

export async function attachDisks(assembly: Assembly): Promise<void> {
  const { disks } = assembly.config;
  const engine = disks.length > 0 && hasIoUring() ? 'io_uring' : 'threads';
  for (const [index, disk] of disks.entries()) {
    await attachDisk(assembly, `disk${index}`, disk, engine);
  }
}

async function attachDisk(
  assembly: Assembly,
  id: string,
  config: ResolvedDisk,
  engine: DiskEngine,
): Promise<void> {
  const { machine } = assembly;
  const { logger } = assembly.host;
  const placement = assembly.placements.allocateMmio();
  const path = 'files' in config ? (config.files[0] ?? id) : config.path;
  const backend = await openBackend(config, (message) => logger.warn(`${path}: ${message}`));
  machine.own(() => backend.close());
  // A full disk fails request after request: once is enough.
  const failures = new RateLimit(1, 60_000);
  const tell = (problem: string) =>
    failures.log(logger.warn, `${path}: ${problem}; the guest is told of an I/O error`);
  const tellFailure = () => {
    const failure = disk.takeFailure();
    if (failure !== undefined) tell(failureText(failure));
  };
  const serve = () => {
    tellFailure();
    const onError = (error: unknown) => tell(error instanceof Error ? error.message : `${error}`);
    resolveScriptRequests(disk, backend, onError, (error) => machine.fail(error));
  };
  const disk = attachNativeDisk(backend, () => machine.contain(serve));
  machine.own(() => {
    // A guest may power off before the wake-up for a failure has been handled.
    tellFailure();
    closeDisk(disk, backend);
  });
  const limits = 'files' in config ? {} : (config.limits ?? {});
  const limiter = new KvmRateLimiter(limits);
  machine.controls.disks.set(id, {
    setRateLimits: (changed) => {
      checkRateLimits(changed);
      limiter.set(changed);
    },
  });
  const queueCount = blockQueueCount(assembly.config.cpus);
  attachVirtio(assembly, placement, queueCount, (host) => {
    return new BlockDevice({
      id,
      sizeBytes: backend.sizeBytes,
      readOnly: backend.readOnly,
      queueCount,
      serialId: id,
      createWorker: blockWorker(host, disk, engine, limiter),
    });
  });
}

async function openBackend(
  config: ResolvedDisk,
  warn: (message: string) => void,
): Promise<DiskBackend> {
  if ('files' in config) return new JoinedFilesDisk(config.files, hostFiles());
  const { path, format, limits: _, ...options } = config;
  return await openDisk(resolve(path), {
    ...options,
    format: diskFormat(path, format),
    hostFiles: hostFiles(),
    warn,
  });
}
