/**
 * Damages the metadata of a qcow2 image: fields of the header and of tables get values at or past a
 * limit, or that point to something else. The image is parsed here independently of the tested
 * code.
 */
import type { Random } from '../support/random.ts';

const HEADER_FIELDS = [
  { offset: 4, bytes: 4 }, // version
  { offset: 8, bytes: 8 }, // backing_file_offset
  { offset: 16, bytes: 4 }, // backing_file_size
  { offset: 20, bytes: 4 }, // cluster_bits
  { offset: 24, bytes: 8 }, // size
  { offset: 32, bytes: 4 }, // crypt_method
  { offset: 36, bytes: 4 }, // l1_size
  { offset: 40, bytes: 8 }, // l1_table_offset
  { offset: 48, bytes: 8 }, // refcount_table_offset
  { offset: 56, bytes: 4 }, // refcount_table_clusters
  { offset: 60, bytes: 4 }, // nb_snapshots
  { offset: 64, bytes: 8 }, // snapshots_offset
  { offset: 72, bytes: 8 }, // incompatible_features
  { offset: 80, bytes: 8 }, // compatible_features
  { offset: 88, bytes: 8 }, // autoclear_features
  { offset: 96, bytes: 4 }, // refcount_order
  { offset: 100, bytes: 4 }, // header_length
  { offset: 104, bytes: 1 }, // compression_type
] as const;

const EXTENSION_TYPES = [0, 0xe2792aca, 0x6803f857, 0x23852875, 0x0537be77, 0x44415441, 0x12345678];

/** Fixed part of an entry of the snapshot table: l1 offset, l1 size, name lengths, VM state… */
const SNAPSHOT_FIELDS = [
  { offset: 0, bytes: 8 },
  { offset: 8, bytes: 4 },
  { offset: 12, bytes: 2 },
  { offset: 14, bytes: 2 },
  { offset: 32, bytes: 4 },
  { offset: 36, bytes: 4 },
  { offset: 48, bytes: 8 },
] as const;

/** Changes an image in one to four places. */
export function mutate(image: Uint8Array, random: Random): Uint8Array {
  const mutant = new Mutant(image.slice(), random);
  for (let count = random.between(1, 4); count > 0; count--) mutant.mutateOnce();
  return mutant.bytes;
}

class Mutant {
  bytes: Uint8Array;
  readonly #random: Random;

  constructor(bytes: Uint8Array, random: Random) {
    this.bytes = bytes;
    this.#random = random;
  }

  mutateOnce(): void {
    const random = this.#random;
    const kind = random.weighted({
      header: 6,
      extension: 2,
      l1: 4,
      l2: 10,
      compressed: 4,
      refcountTable: 3,
      refcountBlock: 3,
      snapshot: 4,
      snapshotL1: 2,
      bytes: 2,
      truncate: 1,
    });
    switch (kind) {
      case 'header':
        this.#setField(0, random.pick(HEADER_FIELDS));
        break;
      case 'extension':
        this.#addExtension();
        break;
      case 'l1':
        this.#damageEntry(this.#l1Offset(), this.#u32(36));
        break;
      case 'l2':
        this.#damageEntry(this.#someL2(), this.#clusterBytes() / 8);
        break;
      case 'compressed':
        this.#makeCompressed();
        break;
      case 'refcountTable':
        this.#damageEntry(this.#u64(48), this.#u32(56) * (this.#clusterBytes() / 8));
        break;
      case 'refcountBlock':
        this.#damageBytes(this.#entryTarget(this.#u64(48), 4), this.#clusterBytes());
        break;
      case 'snapshot':
        this.#damageSnapshot();
        break;
      case 'snapshotL1':
        this.#damageEntry(this.#u64(this.#u64(64)), this.#u32(this.#u64(64) + 8));
        break;
      case 'bytes':
        this.#damageBytes(0, this.bytes.length);
        break;
      case 'truncate':
        this.bytes = this.bytes.slice(0, random.below(this.bytes.length + 1));
        break;
    }
  }

  #clusterBytes(): number {
    return 2 ** Math.min(21, Math.max(9, this.#u32(20)));
  }

  #l1Offset(): number {
    return this.#u64(40);
  }

  #someL2(): number {
    return this.#entryTarget(this.#l1Offset(), Math.max(1, Math.min(64, this.#u32(36))));
  }

  /** The offset in one of the first `count` entries of a table. */
  #entryTarget(table: number, count: number): number {
    const targets: number[] = [];
    for (let index = 0; index < count; index++) {
      const high = this.#u32(table + index * 8) & 0x00ff_ffff;
      const offset = high * 2 ** 32 + ((this.#u32(table + index * 8 + 4) & ~511) >>> 0);
      if (offset > 0 && offset < this.bytes.length) targets.push(offset);
    }
    return targets.length > 0 ? this.#random.pick(targets) : 0;
  }

  /** An entry of 64 bits in one of the tables. */
  #damageEntry(table: number, entries: number): void {
    const random = this.#random;
    const first = Math.min(Math.max(entries, 1), 128);
    this.#setField(table + random.below(first) * 8, { offset: 0, bytes: 8 });
  }

  /** A descriptor with any offset and any number of sectors. */
  #makeCompressed(): void {
    const random = this.#random;
    const at = this.#someL2() + random.below(Math.min(64, this.#clusterBytes() / 8)) * 8;
    const offset = random.below(this.bytes.length + 2048);
    const sectors = random.chance(0.5) ? random.below(2 ** 30) : 0;
    this.#put(at, 4, 2 ** 30 + sectors);
    this.#put(at + 4, 4, offset);
  }

  #damageSnapshot(): void {
    const random = this.#random;
    if (this.#u32(60) === 0 && random.chance(0.5)) {
      this.#put(60, 4, random.between(1, 3));
      this.#put(64, 8, random.below(this.bytes.length));
    }
    this.#setField(this.#u64(64), random.pick(SNAPSHOT_FIELDS));
  }

  /** In place of the existing extensions. */
  #addExtension(): void {
    const random = this.#random;
    const at = this.#u32(4) === 2 ? 72 : Math.min(this.#u32(100), this.bytes.length);
    const length = random.pick([0, 1, 8, 24, 24, 500, 0xffff_ffff]);
    this.#put(at, 4, random.pick(EXTENSION_TYPES));
    this.#put(at + 4, 4, length);
    // Also a bitmaps extension with a random offset that claims to be up to date.
    this.#put(at + 8, 4, random.between(0, 3));
    this.#put(at + 16, 8, random.below(4096));
    this.#put(at + 24, 8, random.below(64) * this.#clusterBytes());
    if (random.chance(0.5)) this.#put(95, 1, 1);
  }

  #damageBytes(start: number, length: number): void {
    const random = this.#random;
    for (let count = random.between(1, 8); count > 0; count--) {
      this.#put(start + random.below(Math.max(1, length)), 1, random.below(256));
    }
  }

  #setField(base: number, field: { readonly offset: number; readonly bytes: number }): void {
    this.#put(base + field.offset, field.bytes, this.#value(base + field.offset, field.bytes));
  }

  #value(at: number, bytes: number): number {
    const random = this.#random;
    const now = bytes === 8 ? this.#u64(at) : this.#u32(at);
    const limit = 2 ** (bytes * 8);
    const kind = random.weighted({ small: 3, limit: 2, near: 3, place: 5, bit: 3, any: 1 });
    switch (kind) {
      case 'small':
        return random.below(16);
      case 'limit':
        return limit - random.pick([1, 2, 512, limit / 2, limit / 2 + 1, limit / 2 - 1]);
      case 'near':
        return Math.max(0, now + random.pick([-512, -8, -1, 1, 8, 512]));
      case 'place': {
        const cluster = random.below(this.bytes.length / this.#clusterBytes() + 2);
        const flags = bytes === 8 ? random.pick([0, 0, 2 ** 63, 2 ** 62]) : 0;
        return flags + cluster * this.#clusterBytes() + random.pick([0, 0, 0, 1, 8, 512]);
      }
      case 'bit': {
        const bit = 2 ** random.below(Math.min(bytes * 8, 53));
        return Math.floor(now / bit) % 2 === 0 ? now + bit : now - bit;
      }
      case 'any':
        return random.below(Math.min(limit, 2 ** 53));
    }
  }

  /** Big-endian access; past the end of the file nothing is read or changed. */
  #u32(at: number): number {
    let value = 0;
    for (let index = 0; index < 4; index++) value = value * 256 + (this.bytes[at + index] ?? 0);
    return value;
  }

  #u64(at: number): number {
    return this.#u32(at) * 2 ** 32 + this.#u32(at + 4);
  }

  #put(at: number, count: number, value: number): void {
    let rest = value;
    for (let index = count - 1; index >= 0; index--) {
      if (at + index < this.bytes.length) this.bytes[at + index] = rest % 256;
      rest = Math.floor(rest / 256);
    }
  }
}
