import type { DiskImage } from '../image.ts';
import { InFlight } from './in-flight.ts';

export interface ImageBenchOptions {
  /** Number of requests. */
  readonly count: number;
  /** Concurrent requests. */
  readonly depth: number;
  /** Size of each request, in bytes. */
  readonly bufferBytes: number;
  /** Distance between requests, in bytes; wraps around at the end. */
  readonly stepBytes: number;
  /** Offset of the first, in bytes. */
  readonly offset: number;
  /** The byte to write; undefined for reads. */
  readonly pattern: number | undefined;
  /** Number of writes between flushes; 0 for no flush. */
  readonly flushInterval: number;
  /** Wait for other requests before a flush. */
  readonly drain: boolean;
}

/**
 * Reads or writes an image as fast as possible, like `qemu-img bench`.
 * @returns the duration in milliseconds
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
