export type ByteOrder = 'little' | 'big';

/** Bounds-checked fields of a structure. */
export class Fields {
  readonly bytes: Uint8Array;
  /** Makes an error of a problem in this structure. */
  readonly invalid: (problem: string) => Error;
  readonly #view: DataView;
  readonly #isLittle: boolean;

  constructor(bytes: Uint8Array, invalid: (problem: string) => Error, order: ByteOrder) {
    this.bytes = bytes;
    this.invalid = invalid;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#isLittle = order === 'little';
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  u8(offset: number): number {
    return this.#view.getUint8(this.#checked(offset, 1));
  }

  u16(offset: number): number {
    return this.#view.getUint16(this.#checked(offset, 2), this.#isLittle);
  }

  u32(offset: number): number {
    return this.#view.getUint32(this.#checked(offset, 4), this.#isLittle);
  }

  big64(offset: number): bigint {
    return this.#view.getBigUint64(this.#checked(offset, 8), this.#isLittle);
  }

  /** @throws for values from 2^53, which no place or size on a disk has */
  u64(offset: number): number {
    const value = this.big64(offset);
    if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    throw this.invalid(`the value 0x${value.toString(16)} is out of range`);
  }

  slice(offset: number, length: number): Uint8Array {
    return this.bytes.subarray(this.#checked(offset, length), offset + length);
  }

  /** A part as a structure. */
  part(offset: number, length: number): Fields {
    return this.over(this.slice(offset, length));
  }

  /** Other bytes of the same structure. */
  over(bytes: Uint8Array): Fields {
    return new Fields(bytes, this.invalid, this.#isLittle ? 'little' : 'big');
  }

  /** Latin-1 text up to the first NUL. */
  text(offset: number, length: number): string {
    const [text = ''] = Buffer.from(this.slice(offset, length)).toString('latin1').split('\0');
    return text;
  }

  /** Whether these characters are there; false outside the structure. */
  has(offset: number, text: string): boolean {
    const part = this.bytes.subarray(offset, offset + text.length);
    return Buffer.from(part).toString('latin1') === text;
  }

  /** 16 bytes as RFC 9562 writes a UUID. */
  uuid(offset: number): string {
    const hex = Buffer.from(this.slice(offset, 16)).toString('hex');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  }

  #checked(offset: number, length: number): number {
    if (offset >= 0 && length >= 0 && offset + length <= this.bytes.length) return offset;
    throw this.invalid(`${length} bytes at ${offset} exceed its ${this.bytes.length} bytes`);
  }
}
