import type { RegisterHandler } from './register-bank.ts';

/** Low `width` bytes, all ones: what a bus reads where nobody answers. */
function floating(width: number): number {
  return width >= 4 ? 0xffff_ffff : 2 ** (8 * width) - 1;
}

/** A slow register access of a guest, waiting for its answer. */
export interface SlowAccess {
  /** The bank's number on the bus, as given when it was attached. */
  readonly bank: number;
  readonly offset: number;
  /** 1, 2, 4 or 8 bytes. */
  readonly width: number;
}

/** Takes the slow accesses to the device whose registers they are. */
export class Bus {
  readonly #handlers = new Map<number, RegisterHandler>();

  attach(bank: number, handler: RegisterHandler): void {
    this.#handlers.set(bank, handler);
  }

  /** Answers a read: the low and high 32 bits. */
  read({ bank, offset, width }: SlowAccess): readonly [low: number, high: number] {
    const handler = this.#handlers.get(bank);
    if (handler === undefined) return [floating(width), floating(width)];
    // No device of ours has 64-bit registers: a wider access is two of 32 bits.
    if (width === 8) return [handler.read(offset, 4), handler.read(offset + 4, 4)];
    return [handler.read(offset, width), 0];
  }

  /** Carries out a write. A promise: the guest's instruction ends when it is fulfilled. */
  write({ bank, offset, width }: SlowAccess, low: number, high: number): void | Promise<void> {
    const handler = this.#handlers.get(bank);
    if (handler === undefined) return;
    if (width !== 8) return handler.write(offset, width, low);
    const first = handler.write(offset, 4, low);
    if (first instanceof Promise) return first.then(() => handler.write(offset + 4, 4, high));
    return handler.write(offset + 4, 4, high);
  }
}
