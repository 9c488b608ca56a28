import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { TsvmError } from '../../errors.ts';
import { socketPair } from '../../host/descriptors.ts';
import { hasCode } from '../../util/error-code.ts';
import { printable } from '../../util/printable.ts';
import { hasDefaultRoute, hasIpv4DefaultRoute } from './default-route.ts';
import { guestNameServers, hostNameServers, type NameServers } from './name-servers.ts';

/** The IPv4 addresses of a guest that does not share the host's. */
export interface GuestAddresses {
  readonly address: string;
  readonly netmask: string;
  readonly gateway: string;
}

/**
 * passt gives the guest the addresses of the interface with the default route. On a host without a
 * default route, published ports work with these addresses, which QEMU uses by default.
 */
export const OWN_ADDRESSES: GuestAddresses = {
  address: '10.0.2.15',
  netmask: '255.255.255.0',
  gateway: '10.0.2.2',
};
/** Without a default route, passt needs to be told an interface and a MAC address of the gateway. */
const WITHOUT_ROUTE = ['--interface', 'lo', '--mac-addr', '52:55:0a:00:02:02'];

/** A port of the host that is forwarded to a port of the guest. */
export interface PortForward {
  readonly protocol: 'tcp' | 'udp';
  /** An address of the host, IPv4 or IPv6. */
  readonly address: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

export interface PasstOptions {
  readonly forwards: readonly PortForward[];
  /** Bytes. */
  readonly mtu: number;
  /** Default: those of the host. */
  readonly addresses?: GuestAddresses | undefined;
  /**
   * Maps the gateway's address to the host's loopback. Default: only if the guest needs it to reach a
   * name server.
   */
  readonly gatewayIsHost?: boolean | undefined;
}

/** A running passt, which provides the guest's network without privileges (passt(1)). */
export interface Passt {
  /** The guest's end, a stream socket. The caller closes it. */
  readonly fd: number;
  /**
   * Resolves when its ports are bound; what a guest sends before waits in the socket. Rejects with
   * TsvmError `network-unavailable`; handle it.
   */
  readonly ready: Promise<void>;
  /** A warning for the user, if any. */
  readonly warning: string | undefined;
  /** Call it after closing `fd`, which ends passt. Resolves when its ports are free. */
  stop(): Promise<void>;
}

const PASST = 'passt';
/** Descriptor of the socket in the child. */
const SOCKET_FD = 3;
/** passt prints this when its ports are bound. */
const READY = /^(MAC|DHCP|NDP)\b/m;
/** Upper bound for that on a busy host, in case passt prints something else. */
const READY_TIMEOUT_MS = 15_000;
/** passt exits by itself when the socket is closed. */
const END_TIMEOUT_MS = 2_000;
const OUTPUT_CHARACTERS_MAX = 4_096;

/**
 * Starts passt with one end of a socket pair. It ends with this process, however that ends.
 * @throws TsvmError `network-unavailable`
 */
export function startPasst(options: PasstOptions): Passt {
  const names = guestNameServers(hostNameServers());
  const [ours, theirs] = socketPair();
  let child: ChildProcess;
  try {
    child = spawn(PASST, passtArguments(options, names), {
      stdio: ['ignore', 'ignore', 'pipe', theirs],
      // In its own process group, so that Ctrl-C in the terminal does not reach it.
      detached: true,
    });
  } catch (error) {
    closeSync(ours);
    throw error;
  } finally {
    closeSync(theirs);
  }
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve());
    child.once('close', () => resolve());
  });
  child.unref();
  return {
    fd: ours,
    ready: ready(child),
    warning: warningOf(options, names),
    stop: () => stop(child, ended),
  };
}

async function stop(child: ChildProcess, ended: Promise<void>): Promise<void> {
  child.ref();
  const kill = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS);
  await ended;
  clearTimeout(kill);
}

/** Resolves when passt is ready. */
async function ready(child: ChildProcess): Promise<void> {
  let output = '';
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, READY_TIMEOUT_MS);
  const collect = (chunk: Buffer) => {
    output = `${output}${chunk}`.slice(0, OUTPUT_CHARACTERS_MAX);
    if (READY.test(output)) resolve();
  };
  child.stderr?.on('data', collect);
  child.once('error', (cause) => reject(notStarted(cause)));
  child.once('close', (code) => reject(notServing(output, code)));
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    // Later output is read and discarded; otherwise passt would block.
    child.stderr?.removeListener('data', collect).resume();
    (child.stderr as Socket | null)?.unref();
  }
}

function notStarted(cause: Error): TsvmError {
  const message = hasCode(cause, 'ENOENT')
    ? 'passt is not installed, which --net user needs. As root: apt-get install passt'
    : `passt cannot be started: ${cause.message}`;
  return new TsvmError('network-unavailable', message, { cause });
}

function notServing(output: string, code: number | null): TsvmError {
  // The reason is the last line that is not about the system logger.
  const lines = output.split('\n').filter((line) => line !== '' && !line.includes('syslog'));
  const reason = printable(lines.at(-1) ?? `exit code ${code}`);
  const advice = /bind/i.test(reason) ? '; choose another host port with hostfwd=' : '';
  return new TsvmError('network-unavailable', `passt does not start: ${reason}${advice}`);
}

function warningOf(options: PasstOptions, { mapsGateway }: NameServers): string | undefined {
  const { forwards, gatewayIsHost } = options;
  if (gatewayIsHost === true) return undefined;
  const isNeeded = mapsGateway && gatewayIsHost === undefined;
  const reason = isNeeded
    ? 'the host’s name server listens on loopback'
    : 'UDP ports are forwarded';
  return isNeeded || answersLoopback(forwards)
    ? `${reason}: the guest reaches it, and other services on the host’s loopback, by the address of its gateway`
    : undefined;
}

function passtArguments(options: PasstOptions, { servers, mapsGateway }: NameServers): string[] {
  const { addresses, forwards, gatewayIsHost = mapsGateway, mtu } = options;
  return [
    ...['--foreground', '--stderr', '--fd', String(SOCKET_FD), '--mtu', String(mtu)],
    ...(addresses === undefined ? hostAddressArguments() : addressArguments(addresses)),
    ...(gatewayIsHost || answersLoopback(forwards) ? [] : ['--no-map-gw']),
    ...servers.flatMap((server) => ['--dns', server]),
    ...forwards.flatMap(({ protocol, address, hostPort, guestPort }) => [
      protocol === 'tcp' ? '--tcp-ports' : '--udp-ports',
      `${address}/${hostPort}:${guestPort}`,
    ]),
  ];
}

function hostAddressArguments(): string[] {
  return hasDefaultRoute() ? [] : addressArguments(OWN_ADDRESSES);
}

function addressArguments({ address, gateway, netmask }: GuestAddresses): string[] {
  return [
    ...['--ipv4-only', '--address', address, '--netmask', netmask, '--gateway', gateway],
    ...(hasIpv4DefaultRoute() ? [] : WITHOUT_ROUTE),
  ];
}

/**
 * Before version 2024-07, passt delivers a guest's answers to UDP datagrams from loopback only if the
 * gateway's address is mapped to the host.
 */
function answersLoopback(forwards: readonly PortForward[]): boolean {
  return forwards.some(({ protocol }) => protocol === 'udp');
}
