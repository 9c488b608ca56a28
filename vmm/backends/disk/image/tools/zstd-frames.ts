import type { TransformOptions } from 'node:stream';
import { constants, createZstdCompress, type ZstdCompress, type ZstdOptions } from 'node:zlib';

/** Upper bound of a frame's size: ZSTD_COMPRESSBOUND of zstd.h, and some more. */
function compressBound(bytes: number): number {
  return bytes + Math.floor(bytes / 256) + 1024;
}

/**
 * Frames are put into output buffers of this size, one after the other; larger ones get their own.
 */
const OUTPUT_BYTES = 512 * 1024;

/**
 * Makes zstd frames, one from each input, on other threads.
 *
 * Streams are reused: the context of one is larger than most clusters and takes longer to create
 * than to use. There are few of them, so their contexts stay in the cache.
 */
export class ZstdFrames {
  readonly #outputBytes: number;
  readonly #streamsMax: number;
  readonly #idle: ZstdCompress[] = [];
  readonly #waiting: ((stream: ZstdCompress) => void)[] = [];
  #streams = 0;

  /**
   * @param inputBytesMax the longest input
   * @param streamsMax inputs compressed concurrently
   */
  constructor(inputBytesMax: number, streamsMax: number) {
    this.#outputBytes = Math.max(OUTPUT_BYTES, compressBound(inputBytesMax));
    this.#streamsMax = streamsMax;
  }

  /** @param plain must not change until it resolves */
  async compress(plain: Uint8Array): Promise<Buffer> {
    const stream = await this.#take();
    const frame = await new Promise<Buffer>((resolve, reject) => {
      stream.once('error', reject);
      stream.write(plain, (error) => {
        stream.off('error', reject);
        if (error) reject(error);
        else resolve(stream.read() ?? Buffer.alloc(0));
      });
    });
    this.#give(stream);
    return frame;
  }

  /** Releases the streams' memory. */
  close(): void {
    for (const stream of this.#idle) stream.destroy();
    this.#idle.length = 0;
  }

  #take(): ZstdCompress | Promise<ZstdCompress> {
    const stream = this.#idle.pop();
    if (stream !== undefined) return stream;
    if (this.#streams < this.#streamsMax) {
      this.#streams++;
      return this.#newStream();
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #give(stream: ZstdCompress): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(stream);
    else next(stream);
  }

  #newStream(): ZstdCompress {
    const options: ZstdOptions & Pick<TransformOptions, 'readableHighWaterMark'> = {
      // Every write ends a frame.
      flush: constants.ZSTD_e_end,
      chunkSize: this.#outputBytes,
      // Output is taken before the stream's buffer is full.
      readableHighWaterMark: 2 * this.#outputBytes,
    };
    return createZstdCompress(options);
  }
}
