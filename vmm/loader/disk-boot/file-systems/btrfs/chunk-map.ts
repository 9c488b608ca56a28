/** Logical addresses to places on the device: `struct btrfs_chunk`. */
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';

const CHUNK_BYTES = 48;
const STRIPE_BYTES = 32;
const CHUNKS_MAX = 2 ** 16;

/** Profiles that spread a chunk over devices, so that one stripe is not all of it. */
const SPREADING: readonly (readonly [bit: number, name: string])[] = [
  [0x8, 'raid0'],
  [0x40, 'raid10'],
  [0x80, 'raid5'],
  [0x100, 'raid6'],
];

interface Chunk {
  readonly address: number;
  readonly sizeBytes: number;
  /** Why it cannot be read, else undefined. */
  readonly problem: string | undefined;
  readonly deviceOffset: number;
}

/** The chunks of one device. A copy of each byte must be on it. */
export class ChunkMap {
  readonly #volume: Volume;
  readonly #deviceId: bigint;
  readonly #chunks: Chunk[] = [];

  constructor(volume: Volume, deviceId: bigint) {
    this.#volume = volume;
    this.#deviceId = deviceId;
  }

  /**
   * Adds a chunk.
   * @param address its key's offset
   * @returns the length of the item in bytes
   */
  add(address: number, item: Fields): number {
    const stripes = item.u16(44);
    const itemBytes = CHUNK_BYTES + stripes * STRIPE_BYTES;
    if (this.#chunks.some((chunk) => chunk.address === address)) return itemBytes;
    if (this.#chunks.length === CHUNKS_MAX) throw item.invalid(`more than ${CHUNKS_MAX} chunks`);
    const type = item.u32(24);
    const [, profile] = SPREADING.find(([bit]) => type & bit) ?? [];
    let deviceOffset: number | undefined;
    for (let index = 0; index < stripes && deviceOffset === undefined; index++) {
      const stripe = CHUNK_BYTES + index * STRIPE_BYTES;
      if (item.big64(stripe) === this.#deviceId) deviceOffset = item.u64(stripe + 8);
    }
    const problem =
      profile !== undefined && stripes > 1
        ? `btrfs ${profile} over several devices, which tsvm does not read`
        : deviceOffset === undefined
          ? 'btrfs with several devices: a part is on another device'
          : undefined;
    this.#chunks.push({
      address,
      sizeBytes: item.u64(0),
      problem,
      deviceOffset: deviceOffset ?? 0,
    });
    return itemBytes;
  }

  /**
   * The place of a range, which must be inside one chunk.
   * @throws TsvmError `invalid-disk`
   */
  locate(address: number, length: number, what: string): number {
    const chunk = this.#chunks.find(
      (candidate) =>
        address >= candidate.address && address < candidate.address + candidate.sizeBytes,
    );
    if (chunk === undefined) throw this.#volume.invalid(`${what}: no chunk has ${address}`);
    if (chunk.problem !== undefined) throw this.#volume.invalid(chunk.problem);
    if (address + length > chunk.address + chunk.sizeBytes) {
      throw this.#volume.invalid(`${what}: ${length} bytes at ${address} exceed their chunk`);
    }
    return chunk.deviceOffset + (address - chunk.address);
  }
}
