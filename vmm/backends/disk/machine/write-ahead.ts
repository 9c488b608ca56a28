/** The most that is prepared before it is asked for. */
const AHEAD_BYTES_MAX = 16 * 2 ** 20;

/**
 * How far to prepare for writes that have not come yet. Each time that a write goes on where the
 * last preparation ended, the next one reaches further: a guest that writes from one end to the
 * other asks for few of them.
 */
export class WriteAhead {
  #start = 0;
  #end = 0;
  #bytes = 0;

  /**
   * Notes a write of [offset, end).
   * @returns where the preparation should end: `end` or behind it
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
