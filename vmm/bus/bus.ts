import type { RegisterHandler } from './register-bank.ts';

/** The value read from an address without a device: all ones, `width` bytes wide. */
function floating(width: number): number {
  return width >= 4 ? 0xffff_ffff : 2 ** (8 * width) - 1;
}

/** A guest's register access that JavaScript has to handle. */
export interface SlowAccess {
  /** Number that the bank got when it was attached. */
  readonly bank: number;
  readonly offset: number;
  /** 1, 2, 4 or 8 bytes. */
  readonly width: number;
}

/** Dispatches slow register accesses to the devices. */
export class Bus {
  readonly #handlers = new Map<number, RegisterHandler>();

  attach(bank: number, handler: RegisterHandler): void {
    this.#handlers.set(bank, handler);
  }

  /** @returns the low and high 32 bits of the value read */
  read({ bank, offset, width }: SlowAccess): readonly [low: number, high: number] {
    const handler = this.#handlers.get(bank);
    if (handler === undefined) return [floating(width), floating(width)];
    // No device here has 64-bit registers: a 64-bit access becomes two 32-bit accesses.
    if (width === 8) return [handler.read(offset, 4), handler.read(offset + 4, 4)];
    return [handler.read(offset, width), 0];
  }

  /** @returns a promise if the guest's instruction must not complete before it is fulfilled */
  write({ bank, offset, width }: SlowAccess, low: number, high: number): void | Promise<void> {
    const handler = this.#handlers.get(bank);
    if (handler === undefined) return;
    if (width !== 8) return handler.write(offset, width, low);
    const first = handler.write(offset, 4, low);
    if (first instanceof Promise) return first.then(() => handler.write(offset + 4, 4, high));
    return handler.write(offset + 4, 4, high);
  }
}
