/** B-trees of btrfs: `struct btrfs_header`, `struct btrfs_item`, `struct btrfs_key_ptr`. */
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import type { ChunkMap } from './chunk-map.ts';
import type { BtrfsSuperblock, TreeRoot } from './superblock.ts';

const HEADER_BYTES = 101;
const KEY_BYTES = 17;
const ITEM_BYTES = 25;
const POINTER_BYTES = 33;
/** BTRFS_MAX_LEVEL - 1. */
const LEVEL_MAX = 7;

export interface Key {
  readonly objectId: bigint;
  readonly type: number;
  readonly offset: bigint;
}

export interface Item {
  readonly key: Key;
  readonly data: Fields;
}

export function readKey(fields: Fields, offset: number): Key {
  return {
    objectId: fields.big64(offset),
    type: fields.u8(offset + 8),
    offset: fields.big64(offset + 9),
  };
}

function compareKeys(a: Key, b: Key): number {
  if (a.objectId !== b.objectId) return a.objectId < b.objectId ? -1 : 1;
  if (a.type !== b.type) return a.type - b.type;
  return a.offset < b.offset ? -1 : a.offset > b.offset ? 1 : 0;
}

/** Reads trees of one file system. */
export class TreeReader {
  readonly #volume: Volume;
  readonly #chunks: ChunkMap;
  readonly #nodeBytes: number;

  constructor(volume: Volume, chunks: ChunkMap, { nodeBytes }: BtrfsSuperblock) {
    this.#volume = volume;
    this.#chunks = chunks;
    this.#nodeBytes = nodeBytes;
  }

  /** All items of one object and type, in order. @throws TsvmError `invalid-disk` */
  *items(root: TreeRoot, objectId: bigint, type: number): Generator<Item> {
    const from = { objectId, type, offset: 0n };
    const to = { objectId, type, offset: 2n ** 64n - 1n };
    if (root.level > LEVEL_MAX) throw this.#volume.invalid(`a tree of ${root.level} levels`);
    yield* this.#walk(root.address, root.level, from, to);
  }

  *#walk(address: number, level: number, from: Key, to: Key): Generator<Item> {
    const node = this.#node(address, level);
    const count = node.u32(96);
    const entryBytes = level === 0 ? ITEM_BYTES : POINTER_BYTES;
    const keyAt = (index: number) => readKey(node, HEADER_BYTES + index * entryBytes);
    if (count * entryBytes > node.sizeBytes) throw node.invalid(`${count} entries`);
    for (let index = firstAtOrBefore(count, keyAt, from); index < count; index++) {
      const key = keyAt(index);
      if (compareKeys(key, to) > 0) return;
      const entry = HEADER_BYTES + index * entryBytes + KEY_BYTES;
      if (level > 0) {
        // Each level is the one below the last, so that no circle is followed.
        yield* this.#walk(node.u64(entry), level - 1, from, to);
      } else if (compareKeys(key, from) >= 0) {
        yield { key, data: node.part(HEADER_BYTES + node.u32(entry), node.u32(entry + 4)) };
      }
    }
  }

  #node(address: number, level: number): Fields {
    const what = `tree node ${address}`;
    const place = this.#chunks.locate(address, this.#nodeBytes, what);
    const node = this.#volume.read(place, this.#nodeBytes, what);
    if (node.u64(48) !== address || node.u8(100) !== level) {
      throw node.invalid(`it is not the node of level ${level}`);
    }
    return node;
  }
}

/** Index of the last key at or before `key`, 0 when there is none. */
function firstAtOrBefore(count: number, keyAt: (index: number) => Key, key: Key): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(keyAt(middle), key) <= 0) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
