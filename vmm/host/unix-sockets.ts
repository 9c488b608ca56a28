/** Stream sockets with a name in the file system, as descriptors: unix(7). */
import { loadAddon } from './addon.ts';

/**
 * Creates a listening socket, open with O_CLOEXEC and O_NONBLOCK.
 * @throws NativeError `EADDRINUSE` when the file exists, `ENAMETOOLONG`, …
 */
export function listenUnix(path: string): number {
  return loadAddon().listenUnix(path);
}

/**
 * Connects without waiting. The socket is open with O_CLOEXEC and O_NONBLOCK.
 * @throws NativeError `EAGAIN` when the backlog is full, `ECONNREFUSED` when nobody listens, …
 */
export function connectUnix(path: string): number {
  return loadAddon().connectUnix(path);
}
