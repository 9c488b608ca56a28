/**
 * Decoding of concatenated zstd frames (RFC 8878), including skippable frames. Node's decoder stops
 * after the first frame, so this finds the frame boundaries from the block lengths.
 */
import { pipeline } from 'node:stream/promises';
import { constants, createZstdDecompress } from 'node:zlib';

const MAGIC = 0xfd2fb528;
/** "Skippable_Frame": 0x184D2A50 to 0x184D2A5F. */
const SKIPPABLE_MAGIC = 0x184d2a50;
/** "Dictionary_ID_Flag" and "Frame_Content_Size_Flag" → bytes of the field. */
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;
const OUTPUT_BYTES = 512 * 1024;
/** A frame may want a window of that many bytes, as a power of two, at most. */
const WINDOW_LOG_MAX = 27;

export function isZstd(bytes: Uint8Array): boolean {
  if (bytes.length < 4) return false;
  const magic = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return magic === MAGIC || (magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC;
}

type Step = 'magic' | 'skippable-size' | 'descriptor' | 'block-header';

/** Finds where the frames of a stream end. */
class FrameScanner {
  readonly #field = new Uint8Array(4);
  #fieldBytes = 0;
  #step: Step = 'magic';
  #skipBytes = 0;
  #hasChecksum = false;
  #lastBlock = false;

  /** Nothing of a frame has been seen. */
  get between(): boolean {
    return this.#step === 'magic' && this.#fieldBytes === 0 && this.#skipBytes === 0;
  }

  /** Scans from `start`. @returns the end of the frame, or -1 if it continues after the chunk */
  scan(chunk: Uint8Array, start: number): number {
    let offset = start;
    for (;;) {
      const skipped = Math.min(this.#skipBytes, chunk.length - offset);
      offset += skipped;
      this.#skipBytes -= skipped;
      if (this.#skipBytes > 0) return -1;
      if (this.#step === 'magic' && this.#lastBlock) {
        this.#lastBlock = false;
        return offset;
      }
      const wanted = FIELD_BYTES[this.#step];
      while (this.#fieldBytes < wanted && offset < chunk.length) {
        this.#field[this.#fieldBytes++] = chunk[offset++] ?? 0;
      }
      if (this.#fieldBytes < wanted) return -1;
      this.#fieldBytes = 0;
      this.#take(new DataView(this.#field.buffer).getUint32(0, true) & FIELD_MASK[this.#step]);
    }
  }

  #take(value: number): void {
    const field = value >>> 0;
    switch (this.#step) {
      case 'magic':
        if (field === MAGIC) this.#step = 'descriptor';
        else if ((field & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) this.#step = 'skippable-size';
        else throw new RangeError('data after a zstd frame is not a zstd frame');
        return;
      case 'skippable-size':
        this.#end(field);
        return;
      case 'descriptor': {
        const singleSegment = (field & 0x20) !== 0;
        const sizeFlag = field >> 6;
        const sizeBytes = CONTENT_SIZE_BYTES[sizeFlag as 0 | 1 | 2 | 3];
        this.#hasChecksum = (field & 4) !== 0;
        this.#skipBytes =
          (singleSegment ? Math.max(sizeBytes, 1) : sizeBytes + 1) +
          DICTIONARY_ID_BYTES[(field & 3) as 0 | 1 | 2 | 3];
        this.#step = 'block-header';
        return;
      }
      case 'block-header': {
        const type = (field >> 1) & 3;
        if (type === BLOCK_RESERVED) throw new RangeError('a zstd block has the reserved type');
        const bytes = type === BLOCK_RLE ? 1 : field >> 3;
        if ((field & 1) === 0) this.#skipBytes = bytes;
        else this.#end(bytes + (this.#hasChecksum ? 4 : 0));
      }
    }
  }

  #end(skipBytes: number): void {
    this.#skipBytes = skipBytes;
    this.#lastBlock = true;
    this.#step = 'magic';
  }
}

const FIELD_BYTES: Readonly<Record<Step, number>> = {
  magic: 4,
  'skippable-size': 4,
  descriptor: 1,
  'block-header': 3,
};
const FIELD_MASK: Readonly<Record<Step, number>> = {
  magic: 0xffffffff,
  'skippable-size': 0xffffffff,
  descriptor: 0xff,
  'block-header': 0xffffff,
};

/**
 * What the frames of a stream hold.
 * @throws during iteration: RangeError and zlib's errors for invalid data
 */
export async function* decodeZstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const chunks = source[Symbol.asyncIterator]();
  const scanner = new FrameScanner();
  let rest: Uint8Array = new Uint8Array(0);

  async function* frame(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (rest.length > 0) {
        const chunk = rest;
        const end = scanner.scan(chunk, 0);
        rest = end < 0 ? rest.subarray(rest.length) : chunk.subarray(end);
        yield end < 0 ? chunk : chunk.subarray(0, end);
        if (end >= 0) return;
      }
      const next = await chunks.next();
      if (next.done) {
        if (!scanner.between) throw new RangeError('the last zstd frame is truncated');
        return;
      }
      rest = next.value;
    }
  }

  try {
    for (;;) {
      while (rest.length === 0) {
        const next = await chunks.next();
        if (next.done) return;
        rest = next.value;
      }
      yield* decodeFrame(frame());
    }
  } finally {
    await chunks.return?.();
  }
}

async function* decodeFrame(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const decoder = createZstdDecompress({
    chunkSize: OUTPUT_BYTES,
    params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
  });
  const feeding = pipeline(bytes, decoder, { end: true });
  // Whoever reads the decoder sees the failure too.
  feeding.catch(() => {});
  yield* decoder;
  await feeding;
}
