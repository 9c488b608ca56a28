import { closeSync, constants, openSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fsPath } from '../util/byte-names.ts';

/** Size of `sun_path` including the NUL; see unix(7). */
const SOCKET_PATH_MAX = 108;

/** Calls `use` with a path that leads to the socket and is short enough for a socket address. */
export async function withShortPath<T>(
  path: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  if (Buffer.byteLength(path) < SOCKET_PATH_MAX) return await use(path);
  const fd = openSync(fsPath(dirname(path)), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await use(`/proc/self/fd/${fd}/${basename(path)}`);
  } finally {
    closeSync(fd);
  }
}
