/** Blocks in a row. */
export interface BlockRun {
  readonly first: number;
  readonly count: number;
}

/** Which blocks of a region are plugged; none at first. Callers check that runs are within it. */
export class BlockMap {
  /** One byte per block, 0 or 1. */
  readonly #blocks: Uint8Array;
  #pluggedCount = 0;

  constructor(count: number) {
    this.#blocks = new Uint8Array(count);
  }

  get pluggedCount(): number {
    return this.#pluggedCount;
  }

  stateOf({ first, count }: BlockRun): 'plugged' | 'unplugged' | 'mixed' {
    const blocks = this.#blocks.subarray(first, first + count);
    if (!blocks.includes(0)) return 'plugged';
    return blocks.includes(1) ? 'mixed' : 'unplugged';
  }

  /** Sets the state of blocks that are all in the other one. */
  change({ first, count }: BlockRun, plugged: boolean): void {
    this.#blocks.fill(plugged ? 1 : 0, first, first + count);
    this.#pluggedCount += plugged ? count : -count;
  }

  /** The plugged blocks, in ascending order. */
  *pluggedRuns(): Generator<BlockRun> {
    for (let first = this.#blocks.indexOf(1); first !== -1; ) {
      const end = this.#blocks.indexOf(0, first);
      const count = (end === -1 ? this.#blocks.length : end) - first;
      yield { first, count };
      first = this.#blocks.indexOf(1, first + count);
    }
  }

  unplugAll(): void {
    this.#blocks.fill(0);
    this.#pluggedCount = 0;
  }

  /** One bit per block, the first in the least significant one; of {@link packedBytes} bytes. */
  pack(): Uint8Array {
    const bits = new Uint8Array(this.packedBytes);
    for (const { first, count } of this.pluggedRuns()) {
      for (let block = first; block < first + count; block += 1) {
        bits[block >> 3] = (bits[block >> 3] ?? 0) | (1 << (block & 7));
      }
    }
    return bits;
  }

  get packedBytes(): number {
    return Math.ceil(this.#blocks.length / 8);
  }

  /** Restores the result of {@link pack}. Bits beyond the last block are ignored. */
  unpack(bits: Uint8Array): void {
    for (let block = 0; block < this.#blocks.length; block += 1) {
      this.#blocks[block] = ((bits[block >> 3] ?? 0) >> (block & 7)) & 1;
    }
    this.#pluggedCount = this.#blocks.reduce((sum, plugged) => sum + plugged, 0);
  }
}
