import type { Duplex } from 'node:stream';

/** Time for the other side to read what was sent, in milliseconds. */
const READ_MS = 2_000;

/**
 * Ends a connection once the other side has read what was sent, and drops what it still sends. A socket
 * that is closed at once fails the other side's next write, and with it all that it has yet to read.
 */
export async function endConnection(socket: Duplex): Promise<void> {
  if (socket.destroyed) return;
  const { promise: read, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, READ_MS);
  socket.once('close', resolve).once('error', resolve);
  socket.removeAllListeners('data').resume();
  socket.end();
  await read;
  clearTimeout(timer);
  socket.destroy();
}
