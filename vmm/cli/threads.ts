import { availableParallelism } from 'node:os';

/**
 * Lets libuv have threads for unpacking and writing, as many as the host runs at once. To be called
 * before the first piece of work is for them: it looks then.
 */
export function useThreads(): void {
  process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism() + 2));
}
