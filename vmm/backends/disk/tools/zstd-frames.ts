import type { TransformOptions } from 'node:stream';
import { constants, createZstdCompress, type ZstdCompress, type ZstdOptions } from 'node:zlib';

/** What zstd adds to what it cannot compress, at most: ZSTD_COMPRESSBOUND of its zstd.h. */
function compressBound(bytes: number): number {
  return bytes + Math.floor(bytes / 256) + 1024;
}

/**
 * Makes zstd frames, one from each input, by streams that are used again and again: a stream's
 * context is larger than most clusters, and to make it takes longer than to use it.
 */
export class ZstdFrames {
  readonly #inputBytesMax: number;
  readonly #idle: ZstdCompress[] = [];

  constructor(inputBytesMax: number) {
    this.#inputBytesMax = inputBytesMax;
  }

  /**
   * Compresses on another thread. Calls at a time are done side by side.
   * @param plain not longer than the constructor was told; must stay as it is until it resolves
   */
  async compress(plain: Uint8Array): Promise<Buffer> {
    const stream = this.#idle.pop() ?? this.#newStream();
    const frame = await new Promise<Buffer>((resolve, reject) => {
      stream.once('error', reject);
      stream.write(plain, (error) => {
        stream.off('error', reject);
        if (error) reject(error);
        else resolve(stream.read() ?? Buffer.alloc(0));
      });
    });
    this.#idle.push(stream);
    return frame;
  }

  /** Gives the streams' memory back. */
  close(): void {
    for (const stream of this.#idle) stream.destroy();
    this.#idle.length = 0;
  }

  #newStream(): ZstdCompress {
    const bound = compressBound(this.#inputBytesMax);
    const options: ZstdOptions & Pick<TransformOptions, 'readableHighWaterMark'> = {
      // Every write ends a frame.
      flush: constants.ZSTD_e_end,
      chunkSize: bound,
      // What has been compressed is taken before the stream finds that it has too much.
      readableHighWaterMark: 2 * bound,
    };
    return createZstdCompress(options);
  }
}
