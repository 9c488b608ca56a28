import type { TsvmError } from '../../errors.ts';

/** More lines would tell nothing more. */
const LINES_MAX = 20;

/** Tells on standard error what `convert --salvage` could not read. */
export class LostBytes {
  #ranges = 0;
  #bytes = 0;

  add(offset: number, length: number, error: TsvmError): void {
    this.#ranges++;
    this.#bytes += length;
    if (this.#ranges > LINES_MAX) return;
    process.stderr.write(
      `tsvm image convert: ${length} bytes at ${offset} are lost, and zero now: ${error.message}\n`,
    );
  }

  tellAll(): void {
    if (this.#ranges === 0) return;
    process.stderr.write(
      `tsvm image convert: ${this.#bytes} bytes in ${this.#ranges} places are lost in all\n`,
    );
  }
}
