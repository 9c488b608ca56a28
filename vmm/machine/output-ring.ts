/** The last bytes of an endless output. Positions count all bytes that were ever written. */
export class OutputRing {
  readonly #bytes: Uint8Array;
  #end = 0;

  /** @param capacityBytes memory is taken for all of it at the first write */
  constructor(capacityBytes: number) {
    this.#bytes = new Uint8Array(capacityBytes);
  }

  /** Position of the oldest byte that is left. */
  get start(): number {
    return Math.max(0, this.#end - this.#bytes.length);
  }

  /** Position after the newest byte. */
  get end(): number {
    return this.#end;
  }

  write(bytes: Uint8Array): void {
    const capacity = this.#bytes.length;
    const kept = bytes.subarray(Math.max(0, bytes.length - capacity));
    this.#end += bytes.length - kept.length;
    const at = this.#end % capacity;
    const head = kept.subarray(0, capacity - at);
    this.#bytes.set(head, at);
    this.#bytes.set(kept.subarray(head.length), 0);
    this.#end += kept.length;
  }

  /** A copy of up to `maxBytes` bytes from `position` on, which is from `start` to `end`. */
  read(position: number, maxBytes: number): Uint8Array {
    const at = position % this.#bytes.length;
    const length = Math.min(maxBytes, this.#end - position, this.#bytes.length - at);
    return this.#bytes.slice(at, at + length);
  }
}
