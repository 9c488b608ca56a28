/** Reuses buffers of one size: new memory costs the kernel more than the copying. */
export class BufferPool {
  readonly #bytes: number;
  readonly #free: Buffer[] = [];

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#bytes);
  }

  give(buffer: Buffer): void {
    this.#free.push(buffer);
  }
}
