import { createSocket } from 'node:dgram';
import { TsvmError } from '../../errors.ts';
import { hasCode } from '../../util/error-code.ts';

/**
 * Whether a UDP port of the host can be bound now.
 * @throws TsvmError `network-unavailable` when the address is none of the host's, or the port is not
 * allowed
 */
export async function isPortFree(address: string, port: number): Promise<boolean> {
  try {
    await bindUdp(address, port);
    return true;
  } catch (cause) {
    if (hasCode(cause, 'EADDRINUSE')) return false;
    throw new TsvmError('network-unavailable', bindProblem('udp', address, port, cause), { cause });
  }
}

export function bindProblem(
  protocol: string,
  address: string,
  port: number,
  cause: unknown,
): string {
  const where = `${address.includes(':') ? `[${address}]` : address}:${port}/${protocol}`;
  if (hasCode(cause, 'EADDRNOTAVAIL')) {
    return `${where} cannot be published: the host has no address ${address}`;
  }
  if (hasCode(cause, 'EACCES')) {
    return (
      `${where} cannot be published: ports below 1024 need root, or ` +
      `sysctl net.ipv4.ip_unprivileged_port_start=${port}`
    );
  }
  if (hasCode(cause, 'EADDRINUSE'))
    return `${where} cannot be published: port is already allocated`;
  return `${where} cannot be published: ${cause instanceof Error ? cause.message : String(cause)}`;
}

function bindUdp(address: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const type = address.includes(':') ? 'udp6' : 'udp4';
  const socket = createSocket({ type, ipv6Only: type === 'udp6' });
  socket.once('error', (error) => {
    socket.close();
    reject(error);
  });
  socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve()));
  return promise;
}
