/** Bound of what is prepared ahead of writes. */
const AHEAD_BYTES_MAX = 16 * 2 ** 20;

/**
 * How far to prepare ahead of sequential writes. Each write that continues where the last preparation
 * ended doubles the next one, so that a guest writing sequentially needs few of them.
 */
export class WriteAhead {
  #start = 0;
  #end = 0;
  #bytes = 0;

  /**
   * Notes a write of [offset, end).
   * @returns where the preparation should end: at `end` or later
   */
  next(offset: number, end: number): number {
    const goesOn = offset >= this.#start && offset <= this.#end;
    if (goesOn && end <= this.#end) return end;
    this.#bytes = goesOn ? Math.min(2 * this.#bytes + end - offset, AHEAD_BYTES_MAX) : 0;
    this.#start = offset;
    this.#end = end + this.#bytes;
    return this.#end;
  }
}
