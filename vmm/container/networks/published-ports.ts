/**
 * Published ports of a container that starts: which ports of the host they get, and what serves them.
 *
 * TCP: this process listens. The thread of the vsock device accepts, and passes data to the agent, which
 * connects to the container's server. Client and server may use different families of addresses.
 *
 * UDP: passt listens on IPv4 addresses. Datagrams to IPv6 addresses are handed to it by a relay, so that
 * a server in the container that listens on IPv4 alone gets them as well.
 */

import { randomInt } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { PortForward } from '../../backends/net/passt.ts';
import { TsvmError } from '../../errors.ts';
import { tryLockFile } from '../../host/file-locks.ts';
import { runtimeFolder } from '../../host/folders.ts';
import { hostFiles } from '../../host/host-files.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { listenTcp } from '../../host/tcp-sockets.ts';
import { hasCode } from '../../util/error-code.ts';
import { bindProblem, isPortFree } from './free-port.ts';
import type { NetworkSettings, PortBinding } from './network-settings.ts';
import { comparePorts } from './port-flags.ts';
import { UdpRelay } from './udp-relay.ts';

const LOOPBACK = '127.0.0.1';
const LOOPBACK_IPV6 = '::1';
/** The default of Linux's ip_local_port_range, from which Docker takes them as well. */
const RANDOM_FIRST = 32_768;
const RANDOM_LAST = 60_999;
const RANDOM_ATTEMPTS = 200;
const ANY_PORT: PortBinding = { hostAddress: '', hostPort: '' };

/** A port of the host that leads to the container. */
export interface PublishedPort {
  /** `80/tcp` */
  readonly port: string;
  readonly hostAddress: string;
  readonly hostPort: number;
}

/** Its clients are connected to a TCP port of the container. */
export interface PortListener {
  readonly fd: number;
  readonly guestPort: number;
}

/** What was chosen, and holds the choice until it is released. */
export interface PublishedPorts {
  readonly published: readonly PublishedPort[];
  /** Listening sockets. Whoever serves them takes them out, and closes them. */
  readonly listeners: PortListener[];
  /** UDP ports, for passt. */
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
  const listeners: PortListener[] = [];
  const relays: UdpRelay[] = [];
  const release = async () => {
    claims.release();
    for (const { fd } of listeners.splice(0)) closeSync(fd);
    await Promise.all(relays.splice(0).map((relay) => relay.close()));
  };
  const addTcp = async (guestPort: number, binding: PortBinding, addresses: readonly string[]) => {
    for (const hostPort of portChoices(binding, 'tcp', claims)) {
      const fds = listenOnAll(addresses, hostPort);
      if (fds === undefined) continue;
      listeners.push(...fds.map((fd) => ({ fd, guestPort })));
      return hostPort;
    }
    throw taken(name, addresses, binding.hostPort);
  };
  const addUdp = async (guestPort: number, binding: PortBinding, addresses: readonly string[]) => {
    const hostPort = await chooseUdpPort(binding, addresses, claims, name);
    const listens = addresses.filter((address) => !isIPv6(address));
    const relayed = addresses.filter((address) => isIPv6(address));
    for (const address of listens) {
      forwards.push({ protocol: 'udp', address, hostPort, guestPort });
    }
    const behind = listens.includes(LOOPBACK)
      ? hostPort
      : relayed.length > 0
        ? await chooseUdpPort(ANY_PORT, [LOOPBACK], claims, name)
        : 0;
    if (behind !== hostPort && relayed.length > 0) {
      forwards.push({ protocol: 'udp', address: LOOPBACK, hostPort: behind, guestPort });
    }
    for (const address of relayed) {
      const relay = new UdpRelay({ address, port: hostPort }, { address: LOOPBACK, port: behind });
      relays.push(relay);
      await relay.listen();
    }
    return hostPort;
  };
  const add = async (port: string, binding: PortBinding) => {
    const addresses = hostAddresses(binding.hostAddress);
    const addPort = protocolOf(port) === 'tcp' ? addTcp : addUdp;
    const hostPort = await addPort(Number.parseInt(port, 10), binding, addresses);
    for (const hostAddress of addresses) published.push({ port, hostAddress, hostPort });
  };
  try {
    for (const [port, bindings] of Object.entries(settings.ports)) {
      for (const binding of bindings) await add(port, binding);
    }
    for (const port of settings.publishAll ? settings.exposed : []) {
      if (settings.ports[port] === undefined) await add(port, ANY_PORT);
    }
  } catch (error) {
    await release();
    throw error;
  }
  published.sort((a, b) => comparePorts(a.port, b.port));
  return { published, listeners, forwards, release };
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

/** The ports of the host that may serve a binding. Of a range, only those that it could claim. */
function* portChoices(
  { hostPort }: PortBinding,
  protocol: 'tcp' | 'udp',
  claims: PortClaims,
): Generator<number> {
  if (hostPort === '' || hostPort === '0') {
    for (let attempt = 0; attempt < RANDOM_ATTEMPTS; attempt++) {
      const port = randomInt(RANDOM_FIRST, RANDOM_LAST + 1);
      if (claims.claim(protocol, port)) yield port;
    }
    return;
  }
  const [first = 0, last = first] = hostPort.split('-').map(Number);
  for (let port = first; port <= last; port++) {
    // One that was named may be used on other addresses by another container.
    const isChoice = first !== last;
    if (!isChoice || claims.claim(protocol, port)) yield port;
  }
}

/**
 * Listens on a port of all the addresses, or of none.
 * @returns undefined when it is taken
 * @throws TsvmError `network-unavailable` when the address is none of the host's, or the port is not
 * allowed
 */
function listenOnAll(addresses: readonly string[], port: number): number[] | undefined {
  const fds: number[] = [];
  for (const address of addresses) {
    try {
      fds.push(listenTcp(address, port));
    } catch (cause) {
      for (const fd of fds) closeSync(fd);
      if (hasCode(cause, 'EADDRINUSE')) return undefined;
      const message = bindProblem('tcp', address, port, cause);
      throw new TsvmError('network-unavailable', message, { cause });
    }
  }
  return fds;
}

async function chooseUdpPort(
  binding: PortBinding,
  addresses: readonly string[],
  claims: PortClaims,
  name: string,
): Promise<number> {
  for (const port of portChoices(binding, 'udp', claims)) {
    if (await areFree(addresses, port)) return port;
  }
  throw taken(name, addresses, binding.hostPort);
}

async function areFree(addresses: readonly string[], port: number): Promise<boolean> {
  for (const address of addresses) {
    if (!(await isPortFree(address, port))) return false;
  }
  return true;
}

function taken(name: string, [address = '']: readonly string[], wanted: string): TsvmError {
  const port = wanted === '' || wanted === '0' ? `${RANDOM_FIRST}-${RANDOM_LAST}` : wanted;
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
    makeFolders(folder, 0o700);
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
