/**
 * Published ports of a container that starts: which ports of the host they get, and what serves them.
 * passt listens on IPv4 addresses; connections to IPv6 addresses are handed to it by a relay, so that
 * a server in the container that listens on IPv4 alone is reached by them as well.
 */

import { randomInt } from 'node:crypto';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { PortForward } from '../../backends/net/passt.ts';
import { TsvmError } from '../../errors.ts';
import { tryLockFile } from '../../host/file-locks.ts';
import { runtimeFolder } from '../../host/folders.ts';
import { hostFiles } from '../../host/host-files.ts';
import { isPortFree } from './free-port.ts';
import type { NetworkSettings, PortBinding } from './network-settings.ts';
import { comparePorts } from './port-flags.ts';
import { PortRelay } from './port-relay.ts';

const LOOPBACK = '127.0.0.1';
const LOOPBACK_IPV6 = '::1';
/** The default of Linux's ip_local_port_range, from which Docker takes them as well. */
const RANDOM_FIRST = 32_768;
const RANDOM_LAST = 60_999;
const RANDOM_ATTEMPTS = 200;

/** A port of the host that leads to the container. */
export interface PublishedPort {
  /** `80/tcp` */
  readonly port: string;
  readonly hostAddress: string;
  readonly hostPort: number;
}

/** What was chosen, and holds the choice until it is released. */
export interface PublishedPorts {
  readonly published: readonly PublishedPort[];
  /** For passt. */
  readonly forwards: readonly PortForward[];
  release(): Promise<void>;
}

/**
 * Chooses the ports.
 * @param name of the container, for messages
 * @throws TsvmError `network-unavailable` when a port is taken
 */
export async function publishPorts(
  settings: Pick<NetworkSettings, 'exposed' | 'ports' | 'publishAll'>,
  name: string,
): Promise<PublishedPorts> {
  const claims = new PortClaims();
  const published: PublishedPort[] = [];
  const forwards: PortForward[] = [];
  const relays: PortRelay[] = [];
  const release = async () => {
    claims.release();
    await Promise.all(relays.splice(0).map((relay) => relay.close()));
  };
  const add = async (port: string, binding: PortBinding) => {
    const protocol = protocolOf(port);
    const guestPort = Number.parseInt(port, 10);
    const addresses = hostAddresses(binding.hostAddress);
    const hostPort = await choosePort(binding, protocol, addresses, claims, name);
    const listens = addresses.filter((address) => !isIPv6(address));
    const relayed = addresses.filter((address) => isIPv6(address));
    for (const address of listens) forwards.push({ protocol, address, hostPort, guestPort });
    const behind = listens.includes(LOOPBACK)
      ? hostPort
      : relayed.length > 0
        ? await randomPort(protocol, [LOOPBACK], claims, name)
        : 0;
    if (behind !== hostPort && relayed.length > 0) {
      forwards.push({ protocol, address: LOOPBACK, hostPort: behind, guestPort });
    }
    for (const address of relayed) {
      const relay = new PortRelay(
        protocol,
        { address, port: hostPort },
        { address: LOOPBACK, port: behind },
      );
      relays.push(relay);
      await relay.listen();
    }
    for (const hostAddress of addresses) published.push({ port, hostAddress, hostPort });
  };
  try {
    for (const [port, bindings] of Object.entries(settings.ports)) {
      for (const binding of bindings) await add(port, binding);
    }
    for (const port of settings.publishAll ? settings.exposed : []) {
      if (settings.ports[port] === undefined) await add(port, { hostAddress: '', hostPort: '' });
    }
  } catch (error) {
    await release();
    throw error;
  }
  published.sort((a, b) => comparePorts(a.port, b.port));
  return { published, forwards, release };
}

function protocolOf(port: string): 'tcp' | 'udp' {
  const protocol = port.split('/')[1];
  if (protocol === 'tcp' || protocol === 'udp') return protocol;
  throw new TsvmError(
    'network-unavailable',
    `port ${port} cannot be published: only tcp and udp ports can`,
  );
}

function hostAddresses(address: string): string[] {
  // IPv6 may be switched off.
  if (address === '') return hasLoopbackIpv6() ? [LOOPBACK, LOOPBACK_IPV6] : [LOOPBACK];
  // Every address: both families, as far as there are.
  if (address === '::') return ['::'];
  return [address];
}

function hasLoopbackIpv6(): boolean {
  return Object.values(networkInterfaces()).some((list) =>
    list?.some(({ address }) => address === LOOPBACK_IPV6),
  );
}

async function choosePort(
  { hostPort }: PortBinding,
  protocol: 'tcp' | 'udp',
  addresses: readonly string[],
  claims: PortClaims,
  name: string,
): Promise<number> {
  if (hostPort === '' || hostPort === '0') return randomPort(protocol, addresses, claims, name);
  const [first = 0, last = first] = hostPort.split('-').map(Number);
  for (let port = first; port <= last; port++) {
    // One that was named may be used on other addresses by another container.
    const isChoice = first !== last;
    if (isChoice && !claims.claim(protocol, port)) continue;
    if (await areFree(protocol, addresses, port)) return port;
  }
  throw taken(name, addresses, hostPort);
}

async function randomPort(
  protocol: 'tcp' | 'udp',
  addresses: readonly string[],
  claims: PortClaims,
  name: string,
): Promise<number> {
  for (let attempt = 0; attempt < RANDOM_ATTEMPTS; attempt++) {
    const port = randomInt(RANDOM_FIRST, RANDOM_LAST + 1);
    if (claims.claim(protocol, port) && (await areFree(protocol, addresses, port))) return port;
  }
  throw taken(name, addresses, `${RANDOM_FIRST}-${RANDOM_LAST}`);
}

async function areFree(
  protocol: 'tcp' | 'udp',
  addresses: readonly string[],
  port: number,
): Promise<boolean> {
  for (const address of addresses) {
    if (!(await isPortFree(protocol, address, port))) return false;
  }
  return true;
}

function taken(name: string, [address = '']: readonly string[], port: string): TsvmError {
  const host = isIPv6(address) ? `[${address}]` : address;
  const isRange = port.includes('-');
  const reason = isRange ? 'all ports are allocated' : 'port is already allocated';
  return new TsvmError(
    'network-unavailable',
    `driver failed programming external connectivity on endpoint ${name}: Bind for ${host}:${port} ` +
      `failed: ${reason}`,
  );
}

/**
 * Ports that containers of this user have chosen: bytes of a file that are locked until the process
 * ends. They keep two containers that start at once from choosing the same.
 */
class PortClaims {
  readonly #fds: number[] = [];

  /** False when another container has it. */
  claim(protocol: 'tcp' | 'udp', port: number): boolean {
    const folder = runtimeFolder();
    if (folder === undefined) return true;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const fd = openSync(join(folder, 'ports.lock'), 'a+', 0o600);
    if (tryLockFile(hostFiles(), fd, true, protocol === 'tcp' ? port : 65_536 + port, 1)) {
      this.#fds.push(fd);
      return true;
    }
    closeSync(fd);
    return false;
  }

  release(): void {
    for (const fd of this.#fds.splice(0)) closeSync(fd);
  }
}
