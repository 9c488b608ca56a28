/** Contents of a container's /etc/hosts and /etc/resolv.conf. */
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { guestNameServers, hostNameServers } from '../../backends/net/name-servers.ts';
import { HOST_GATEWAY } from './name-flags.ts';
import type { NetworkSettings } from './network-settings.ts';

/** What every container has; Docker's. */
const HOSTS = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

/** A name of the container itself. */
export interface OwnName {
  readonly address: string;
  /** The first is the canonical one. */
  readonly names: readonly string[];
}

/** @param gateway the address that stands for the host */
export function hostsFile(
  extraHosts: readonly string[],
  gateway: string,
  own: readonly OwnName[],
): string {
  const extra = extraHosts.map((entry) => {
    const colon = entry.indexOf(':');
    const address = entry.slice(colon + 1);
    return `${address === HOST_GATEWAY ? gateway : address}\t${entry.slice(0, colon)}\n`;
  });
  const names = own.map(({ address, names }) => `${address}\t${names.join(' ')}\n`);
  return HOSTS + extra.join('') + names.join('');
}

/** `hostname.domainname hostname`, as far as there are any. */
export function ownNames(hostname: string, domainname: string): string[] {
  return domainname === '' ? [hostname] : [`${hostname}.${domainname}`, hostname];
}

/** Settings of a resolver: those of the host's are taken over by containers. */
export interface HostResolver {
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** The last line of a kind counts: resolv.conf(5). */
export function parseResolver(text: string): HostResolver {
  const last = (keyword: RegExp) => {
    const found = [...text.matchAll(keyword)].at(-1)?.[1];
    return found === undefined ? [] : found.trim().split(/\s+/);
  };
  return {
    search: last(/^[ \t]*(?:search|domain)[ \t]+([^\n#;]+)/gm),
    options: last(/^[ \t]*options[ \t]+([^\n#;]+)/gm),
  };
}

export function readHostResolver(): HostResolver {
  try {
    return parseResolver(readFileSync('/etc/resolv.conf', 'utf8'));
  } catch {
    return { search: [], options: [] };
  }
}

/** How a container resolves names of the outside. */
export interface OutsideNames {
  readonly servers: readonly string[];
  /** Name servers that are on the host's loopback: the host has to ask them. */
  readonly onHost: readonly string[];
}

export function outsideNames(dns: readonly string[]): OutsideNames {
  if (dns.length > 0) return { servers: dns, onHost: [] };
  const host = hostNameServers();
  const { mapsGateway, servers } = guestNameServers(host);
  if (mapsGateway) return { servers: [], onHost: host.configured };
  const reachable = (servers.length > 0 ? servers : host.configured).filter(
    // The guest has no IPv6, and its own loopback.
    (server) => isIPv4(server) && !server.startsWith('127.'),
  );
  return { servers: reachable, onHost: [] };
}

/** What a container's resolver does: the user's settings, and else the host's. */
export function resolverSettings(
  { dnsOptions, dnsSearch }: Pick<NetworkSettings, 'dnsOptions' | 'dnsSearch'>,
  host: HostResolver,
): HostResolver {
  const search = dnsSearch.length > 0 ? dnsSearch : host.search;
  return {
    search: search.filter((domain) => domain !== '.'),
    options: dnsOptions.length > 0 ? dnsOptions : host.options,
  };
}

/** @param servers in the order in which they are asked */
export function resolvConf(servers: readonly string[], { options, search }: HostResolver): string {
  return [
    ...servers.map((server) => `nameserver ${server}\n`),
    ...(search.length > 0 ? [`search ${search.join(' ')}\n`] : []),
    ...(options.length > 0 ? [`options ${options.join(' ')}\n`] : []),
  ].join('');
}
