import type { StateReader } from '../../device-state.ts';
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
  readonly #replacesSaved: boolean;
  #replaced = false;

  /** @param replacesSaved {@link load} takes the state of a disk of another size, too */
  constructor(replacesSaved: boolean, values: BlockConfigValues) {
    super(SIZE_BYTES);
    this.#replacesSaved = replacesSaved;
    for (const [name, field] of Object.entries(FIELDS)) {
      this.set(field, values[name as keyof typeof FIELDS]);
    }
  }

  /** Sectors of 512 bytes. */
  set capacity(sectors: number) {
    this.set(FIELDS.capacity, sectors);
  }

  /** Whether the driver has yet to be told that the disk is another one; once. */
  takeReplaced(): boolean {
    const replaced = this.#replaced;
    this.#replaced = false;
    return replaced;
  }

  override load(state: StateReader): void {
    if (!this.#replacesSaved) {
      super.load(state);
      return;
    }
    const own = this.#capacity;
    this.capacity = readCapacity(state);
    super.load(state);
    // It changes the generation.
    this.capacity = own;
    this.#replaced = true;
  }

  get #capacity(): number {
    const { offset } = FIELDS.capacity;
    const half = (at: number) => this.read(at, 4) ?? 0;
    return half(offset) + half(offset + 4) * 2 ** 32;
  }
}

function readCapacity(state: StateReader): number {
  const bytes = state.bytes('bytes', SIZE_BYTES, SIZE_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const sectors = Number(view.getBigUint64(FIELDS.capacity.offset, true));
  return Number.isSafeInteger(sectors) ? sectors : state.fail('a disk is not that large');
}
