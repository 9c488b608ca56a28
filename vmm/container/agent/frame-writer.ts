import { DATA_BYTES_MAX, FIELD_HEADER_BYTES, FRAME_HEADER_BYTES } from './protocol.ts';

/** The header of a frame. @param length of its payload in bytes */
export function frameHeader(type: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  header.writeUInt32LE(length, 0);
  header[4] = type;
  return header;
}

/** A list of fields. Undefined values are left out. */
export class Fields {
  readonly #parts: Uint8Array[] = [];

  bytes(tag: number, value: Uint8Array): this {
    const header = Buffer.allocUnsafe(FIELD_HEADER_BYTES);
    header[0] = tag;
    header.writeUInt32LE(value.length, 1);
    this.#parts.push(header, value);
    return this;
  }

  number(tag: number, value: number | bigint | undefined): this {
    if (value === undefined) return this;
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigInt64LE(BigInt.asIntN(64, BigInt(value)));
    return this.bytes(tag, bytes);
  }

  flag(tag: number, value: boolean | undefined): this {
    return value === true ? this.number(tag, 1) : this;
  }

  /** @throws RangeError if the text has a NUL, which ends it */
  text(tag: number, value: string | undefined): this {
    if (value === undefined) return this;
    if (value.includes('\0')) throw new RangeError(`"${value.replaceAll('\0', '\\0')}" has a NUL`);
    return this.bytes(tag, Buffer.from(`${value}\0`));
  }

  texts(tag: number, values: readonly string[] | undefined): this {
    for (const value of values ?? []) this.text(tag, value);
    return this;
  }

  fields(tag: number, value: Fields): this {
    return this.bytes(tag, value.encode());
  }

  encode(): Buffer {
    return Buffer.concat(this.#parts);
  }

  frame(type: number): Buffer {
    const payload = this.encode();
    return Buffer.concat([frameHeader(type, payload.length), payload]);
  }
}

/** Frames of a stream's bytes, each in two parts; those of no bytes would end the stream. */
export function* dataFrames(type: number, bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += DATA_BYTES_MAX) {
    const part = bytes.subarray(start, start + DATA_BYTES_MAX);
    yield frameHeader(type, part.length);
    yield part;
  }
}
