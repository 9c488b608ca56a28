import { readFileSync } from 'node:fs';

/** The file that passt reads. */
const RESOLV_CONF = '/etc/resolv.conf';
/** Where a local resolver (systemd-resolved) lists its upstream name servers. */
const UPSTREAM_FILES = [
  '/run/systemd/resolve/resolv.conf',
  '/run/NetworkManager/no-stub-resolv.conf',
];

/** How a guest resolves host names. */
export interface NameServers {
  /** Name servers to announce. If there are none, passt announces those in resolv.conf. */
  readonly servers: readonly string[];
  /**
   * The gateway's address must be mapped to the host's loopback, so that the guest reaches a name server
   * there. It then reaches all services on loopback.
   */
  readonly mapsGateway: boolean;
}

/** Name servers of this host. */
export interface HostNameServers {
  /** In /etc/resolv.conf. */
  readonly configured: readonly string[];
  /** Upstream servers of a local resolver. */
  readonly upstream: readonly string[];
}

/** Avoids name servers on the host's loopback, whose addresses a guest cannot reach. */
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
