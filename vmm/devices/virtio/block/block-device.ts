import { TsvmError } from '../../../errors.ts';
import type { ActivationContext, VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type QueueWorker, QueueWorkerDevice } from '../queue-worker.ts';
import { BlockConfig } from './block-config.ts';

/** Feature bits, virtio 1.2, section 5.2.3. */
export const VIRTIO_BLK_F_SEG_MAX = 1n << 2n;
export const VIRTIO_BLK_F_RO = 1n << 5n;
export const VIRTIO_BLK_F_BLK_SIZE = 1n << 6n;
export const VIRTIO_BLK_F_FLUSH = 1n << 9n;
export const VIRTIO_BLK_F_TOPOLOGY = 1n << 10n;
export const VIRTIO_BLK_F_MQ = 1n << 12n;
export const VIRTIO_BLK_F_DISCARD = 1n << 13n;
export const VIRTIO_BLK_F_WRITE_ZEROES = 1n << 14n;

/** The unit of all offsets and lengths of virtio-blk, in bytes (section 5.2.4). */
export const SECTOR_BYTES = 512;
/** `VIRTIO_BLK_ID_BYTES`: the length of what GET_ID returns (section 5.2.6). */
export const SERIAL_ID_BYTES = 20;

const QUEUE_SIZE = 256;
/** Every request has a descriptor for its header and one for its status. */
const SEG_MAX = QUEUE_SIZE - 2;
/** More vCPUs share queues. */
const QUEUES_MAX = 16;
/** 4 KiB, the block size of most host file systems. Guests align their partitions to it. */
const PHYSICAL_BLOCK_EXP = 3;
/** 1 GiB. A hole of this size is punched in one call. */
const DISCARD_SECTORS_MAX = 2 ** 21;
/** 16 MiB. Where the host cannot allocate zeroes, they are written, and other requests wait for that. */
const WRITE_ZEROES_SECTORS_MAX = 2 ** 15;
/** Ranges in one discard or write-zeroes request. */
const RANGES_MAX = 1;

/** The properties of the device that the queue worker implements. */
export interface BlockWorkerOptions {
  /** Result of GET_ID, ASCII, at most {@link SERIAL_ID_BYTES}. */
  readonly id: string;
  readonly segMax: number;
  readonly maxDiscardSectors: number;
  readonly maxWriteZeroesSectors: number;
}

export interface BlockDeviceOptions {
  readonly id: string;
  /** Bytes, a multiple of {@link SECTOR_BYTES}. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** From {@link blockQueueCount}. */
  readonly queueCount: number;
  /** Threads that serve the queues, at most one for each queue. */
  readonly workerCount: number;
  /** Printable ASCII, at most {@link SERIAL_ID_BYTES}: Linux shows it as `/sys/block/vdX/serial`. */
  readonly serialId: string;
  /** The state of a disk of another size is taken, too; the driver is told of the size. */
  readonly replacesSaved?: boolean;
  readonly createWorker: (
    options: BlockWorkerOptions,
    onBroken: (reason: string) => void,
  ) => QueueWorker;
}

/** One queue per vCPU, so that the guest's vCPUs do not compete for a queue's lock. */
export function blockQueueCount(cpus: number): number {
  return Math.min(cpus, QUEUES_MAX);
}

/** A disk (virtio 1.2, section 5.2). The queue worker implements its requests. */
export class BlockDevice extends QueueWorkerDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId = 2;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly config: BlockConfig;

  /** @throws TsvmError `invalid-config` for a serial that GET_ID cannot return */
  constructor(options: BlockDeviceOptions) {
    const { workerCount } = options;
    super(
      (onBroken) =>
        options.createWorker(
          {
            id: checkedSerial(options.serialId),
            segMax: SEG_MAX,
            maxDiscardSectors: DISCARD_SECTORS_MAX,
            maxWriteZeroesSectors: WRITE_ZEROES_SECTORS_MAX,
          },
          onBroken,
        ),
      { workers: workerCount, workerOf: (queue) => queue % workerCount },
    );
    this.id = options.id;
    this.queueSizes = new Array<number>(options.queueCount).fill(QUEUE_SIZE);
    this.features =
      QUEUE_FEATURES |
      VIRTIO_F_VERSION_1 |
      VIRTIO_BLK_F_SEG_MAX |
      VIRTIO_BLK_F_BLK_SIZE |
      VIRTIO_BLK_F_TOPOLOGY |
      VIRTIO_BLK_F_FLUSH |
      VIRTIO_BLK_F_MQ |
      (options.readOnly ? VIRTIO_BLK_F_RO : VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES);
    this.config = new BlockConfig(options.replacesSaved === true, {
      capacity: options.sizeBytes / SECTOR_BYTES,
      seg_max: SEG_MAX,
      blk_size: SECTOR_BYTES,
      physical_block_exp: PHYSICAL_BLOCK_EXP,
      num_queues: options.queueCount,
      max_discard_sectors: DISCARD_SECTORS_MAX,
      max_discard_seg: RANGES_MAX,
      discard_sector_alignment: 2 ** PHYSICAL_BLOCK_EXP,
      max_write_zeroes_sectors: WRITE_ZEROES_SECTORS_MAX,
      max_write_zeroes_seg: RANGES_MAX,
      write_zeroes_may_unmap: 1,
    });
  }

  override activate(context: ActivationContext): void {
    super.activate(context);
    if (this.config.takeReplaced()) this.configChanged();
  }

  /**
   * Lets `replace` put another disk in place of the present one while no request is in flight, and
   * tells the driver of the new capacity. Rejects, with nothing changed, if `replace` does.
   * @param replace returns the size of the new disk, in bytes
   */
  replaceDisk(replace: () => Promise<number>): Promise<void> {
    return this.whileStopped(async () => {
      this.config.capacity = (await replace()) / SECTOR_BYTES;
      this.configChanged();
    });
  }
}

function checkedSerial(serialId: string): string {
  if (/^[\x20-\x7e]*$/.test(serialId) && serialId.length <= SERIAL_ID_BYTES) return serialId;
  throw new TsvmError(
    'invalid-config',
    `disk serial '${serialId}': give at most ${SERIAL_ID_BYTES} printable ASCII characters`,
  );
}
