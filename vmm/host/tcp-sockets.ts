/** TCP sockets as descriptors: tcp(7). */
import { loadAddon } from './addon.ts';

/**
 * Creates a listening socket, open with O_CLOEXEC and O_NONBLOCK.
 * @param address numeric, of IPv4 or IPv6; of that family only
 * @throws NativeError `EADDRINUSE`, `EADDRNOTAVAIL` when the host has no such address, `EACCES`, …
 */
export function listenTcp(address: string, port: number): number {
  return loadAddon().listenTcp(address, port);
}
