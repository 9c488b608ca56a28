import { availableParallelism } from 'node:os';

/**
 * Sizes libuv's thread pool for unpacking and writing on all of the host's CPUs. Call this before
 * its first use, when libuv reads the variable.
 */
export function useThreads(): void {
  process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism() + 2));
}
