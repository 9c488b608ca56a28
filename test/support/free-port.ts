import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below the ports that the kernel gives to sockets that ask for any: ip_local_port_range of ip(7). */
const FIRST = 20_000;
const LAST = 32_000;

/**
 * A TCP port that nobody listens on. One that the kernel chooses may be given to another process before
 * the caller uses it, because every connection of the host gets one from the same range.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST, LAST);
    // Without an address: the port has to be free on all of them, of both families.
    const server = createServer().listen(port);
    const taken = once(server, 'error').then(() => true);
    if (await Promise.race([taken, once(server, 'listening').then(() => false)])) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
