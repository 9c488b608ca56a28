import type { TsvmError } from '../../errors.ts';
import { printMessage } from '../standard-streams.ts';

/** Further lines would add no information. */
const LINES_MAX = 20;

/** Reports what `convert --salvage` could not read, on standard error. */
export class LostBytes {
  #ranges = 0;
  #bytes = 0;

  add(offset: number, length: number, error: TsvmError): void {
    this.#ranges++;
    this.#bytes += length;
    if (this.#ranges > LINES_MAX) return;
    printMessage(
      `tsvm image convert: ${length} bytes at ${offset} are unreadable; zeroes were written instead: ${error.message}\n`,
    );
  }

  tellAll(): void {
    if (this.#ranges === 0) return;
    printMessage(
      `tsvm image convert: ${this.#bytes} bytes in ${this.#ranges} ranges were lost in total\n`,
    );
  }
}
