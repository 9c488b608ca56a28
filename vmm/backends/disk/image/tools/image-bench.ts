import type { DiskImage } from '../image.ts';
import { InFlight } from './in-flight.ts';

export interface ImageBenchOptions {
  /** Requests in all. */
  readonly count: number;
  /** Requests at a time. */
  readonly depth: number;
  /** Bytes of each. */
  readonly bufferBytes: number;
  /** From one to the next, in bytes; from the end it goes on at the beginning. */
  readonly stepBytes: number;
  /** Where the first begins, in bytes. */
  readonly offset: number;
  /** The byte to write; undefined: they are reads. */
  readonly pattern: number | undefined;
  /** A flush after so many writes; 0: none. */
  readonly flushInterval: number;
  /** Other requests are waited for before a flush. */
  readonly drain: boolean;
}

/**
 * Reads or writes an image as quickly as it goes, as `qemu-img bench` does.
 * @returns milliseconds
 * @throws TsvmError `invalid-disk`, `disk-io`
 */
export async function benchImage(image: DiskImage, options: ImageBenchOptions): Promise<number> {
  const { bufferBytes, count, depth, drain, flushInterval, pattern } = options;
  const buffers = Array.from({ length: depth }, () => Buffer.alloc(bufferBytes, pattern ?? 0));
  const requests = new InFlight();
  let offset = options.offset;
  const startMs = performance.now();
  try {
    for (let number = 1; number <= count; number++) {
      await requests.fewerThan(depth);
      const buffer = buffers.pop() ?? Buffer.alloc(bufferBytes, pattern ?? 0);
      if (offset + bufferBytes > image.sizeBytes) offset = 0;
      const request =
        pattern === undefined ? image.read(offset, buffer) : image.write(offset, buffer);
      requests.add(request, () => buffers.push(buffer));
      offset += options.stepBytes;
      if (pattern === undefined || flushInterval === 0 || number % flushInterval !== 0) continue;
      if (drain) await requests.fewerThan(1);
      await image.flush();
    }
    await requests.fewerThan(1);
  } finally {
    await requests.settle();
  }
  return performance.now() - startMs;
}
