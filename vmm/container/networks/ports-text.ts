/** Published ports as Docker shows them. */
import { comparePorts } from './port-flags.ts';
import type { PublishedPort } from './published-ports.ts';

/** A line of `docker ps`'s `PORTS`: a port of the container, and of the host if it is published. */
interface PortRow {
  readonly guestPort: number;
  readonly protocol: string;
  readonly address: string;
  readonly hostPort: number;
}

/** `ADDRESS:PORT`, with brackets for IPv6. */
export function hostAddressText(address: string, port: number | string): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The `PORTS` column of `ps`: neighbouring ports that are the same on both sides are ranges. */
export function portsColumn(
  exposed: readonly string[],
  published: readonly PublishedPort[],
): string {
  const taken = new Set(published.map(({ port }) => port));
  const rows: PortRow[] = [
    ...exposed.filter((port) => !taken.has(port)).map((port) => row(port, '', 0)),
    ...published.map(({ hostAddress, hostPort, port }) => row(port, hostAddress, hostPort)),
  ];
  rows.sort(
    (a, b) =>
      a.guestPort - b.guestPort ||
      compare(a.address, b.address) ||
      a.hostPort - b.hostPort ||
      compare(a.protocol, b.protocol),
  );
  const groups = new Map<string, { first: number; last: number }>();
  const ranges: string[] = [];
  const mappings: string[] = [];
  for (const { address, guestPort, hostPort, protocol } of rows) {
    if (address !== '' && hostPort !== guestPort) {
      mappings.push(`${hostAddressText(address, hostPort)}->${guestPort}/${protocol}`);
      continue;
    }
    const key = `${address} ${protocol}`;
    const group = groups.get(key);
    if (group !== undefined && guestPort === group.last + 1) {
      group.last = guestPort;
      continue;
    }
    if (group !== undefined) ranges.push(rangeText(key, group));
    groups.set(key, { first: guestPort, last: guestPort });
  }
  for (const [key, group] of groups) ranges.push(rangeText(key, group));
  return [...ranges, ...mappings].join(', ');
}

function row(port: string, address: string, hostPort: number): PortRow {
  const [number = '', protocol = 'tcp'] = port.split('/');
  return { guestPort: Number(number), protocol, address, hostPort };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function rangeText(key: string, { first, last }: { first: number; last: number }): string {
  const [address = '', protocol = ''] = key.split(' ');
  const range = first === last ? String(first) : `${first}-${last}`;
  return address === ''
    ? `${range}/${protocol}`
    : `${hostAddressText(address, range)}->${range}/${protocol}`;
}

/** Docker's `NetworkSettings.Ports` of `inspect`; null: exposed, but not published. */
export function portsMap(
  exposed: readonly string[],
  published: readonly PublishedPort[],
): Record<string, { HostIp: string; HostPort: string }[] | null> {
  const ports = new Set([...exposed, ...published.map(({ port }) => port)]);
  const entries = [...ports].sort(comparePorts).map((port) => {
    const own = published
      .filter((one) => one.port === port)
      .map(({ hostAddress, hostPort }) => ({ HostIp: hostAddress, HostPort: String(hostPort) }));
    return [port, own.length === 0 ? null : own] as const;
  });
  return Object.fromEntries(entries);
}

/** The lines of `docker port`. */
export function portLines(published: readonly PublishedPort[]): string[] {
  return published.map(({ hostAddress, hostPort, port }) => {
    return `${port} -> ${hostAddressText(hostAddress, hostPort)}`;
  });
}
