import { readFileSync } from 'node:fs';

/** What passt reads by itself. */
const RESOLV_CONF = '/etc/resolv.conf';
/** Where a local resolver keeps the name servers that it asks. */
const UPSTREAM_FILES = [
  '/run/systemd/resolve/resolv.conf',
  '/run/NetworkManager/no-stub-resolv.conf',
];

/** How a guest resolves names. */
export interface NameServers {
  /** Name servers to announce; none: passt announces those in resolv.conf. */
  readonly servers: readonly string[];
  /**
   * The guest needs the gateway's address to stand for the host, for a name server on loopback.
   * It then reaches all services there.
   */
  readonly mapsGateway: boolean;
}

/** Name servers of this host. */
export interface HostNameServers {
  /** In /etc/resolv.conf. */
  readonly configured: readonly string[];
  /** Those that a local resolver asks. */
  readonly upstream: readonly string[];
}

/** Avoids name servers on the host's loopback, which a guest cannot reach by their address. */
export function guestNameServers({ configured, upstream }: HostNameServers): NameServers {
  const onLoopback = configured.length > 0 && configured.every(isLoopback);
  const servers = onLoopback ? upstream.filter((server) => !isLoopback(server)) : [];
  return { servers, mapsGateway: onLoopback && servers.length === 0 };
}

export function hostNameServers(): HostNameServers {
  return {
    configured: readNameServers(RESOLV_CONF),
    upstream: UPSTREAM_FILES.map(readNameServers).find((servers) => servers.length > 0) ?? [],
  };
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

function readNameServers(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  return Array.from(text.matchAll(/^\s*nameserver\s+(\S+)/gm), ([, address = '']) => address);
}
