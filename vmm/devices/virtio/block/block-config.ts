import { type ConfigField, ConfigSpace } from '../config-space.ts';

/** `struct virtio_blk_config` up to the last field we fill (virtio 1.2, section 5.2.4). */
const FIELDS = {
  /** Sectors of 512 bytes. */
  capacity: { offset: 0, width: 8 },
  seg_max: { offset: 12, width: 4 },
  /** Bytes. */
  blk_size: { offset: 20, width: 4 },
  physical_block_exp: { offset: 24, width: 1 },
  num_queues: { offset: 34, width: 2 },
  max_discard_sectors: { offset: 36, width: 4 },
  max_discard_seg: { offset: 40, width: 4 },
  discard_sector_alignment: { offset: 44, width: 4 },
  max_write_zeroes_sectors: { offset: 48, width: 4 },
  max_write_zeroes_seg: { offset: 52, width: 4 },
  write_zeroes_may_unmap: { offset: 56, width: 1 },
} as const satisfies Record<string, ConfigField>;
const SIZE_BYTES = 60;

type BlockConfigValues = Readonly<Record<keyof typeof FIELDS, number>>;

/** The configuration space of a block device. */
export class BlockConfig extends ConfigSpace {
  constructor(values: BlockConfigValues) {
    super(SIZE_BYTES);
    for (const [name, field] of Object.entries(FIELDS)) {
      this.set(field, values[name as keyof typeof FIELDS]);
    }
  }

  /** Sectors of 512 bytes. */
  set capacity(sectors: number) {
    this.set(FIELDS.capacity, sectors);
  }
}
