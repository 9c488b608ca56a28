/** `--network`, `--network-alias`, `--ip`, `--ip6` and `--mac-address`, as Docker reads them. */
import { isIPv4, isIPv6 } from 'node:net';
import { TsvmError } from '../../errors.ts';
import { csvFields } from '../../util/csv-line.ts';
import { parseMacAddress } from '../../util/mac-address.ts';
import { invalidArgument } from './name-flags.ts';
import type { EndpointSettings, NetworkMode } from './network-settings.ts';

/** Names of the network that containers have when nothing is said; the last two are podman's. */
const DEFAULT_NAMES = ['default', 'bridge', 'slirp4netns', 'pasta'];

export interface NetworkFlags {
  readonly networks: readonly string[];
  readonly aliases: readonly string[];
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  readonly macAddress?: string | undefined;
}

export interface ParsedNetworks {
  readonly mode: NetworkMode;
  readonly dockerMode: string;
  readonly endpoints: readonly EndpointSettings[];
  readonly mac?: string | undefined;
}

function invalid(message: string): never {
  throw new TsvmError('invalid-config', message);
}

/** @throws TsvmError `invalid-config`, `invalid-container`, with Docker's messages */
export function parseNetworks(flags: NetworkFlags): ParsedNetworks {
  if (flags.macAddress !== undefined && parseMacAddress(plainMac(flags.macAddress)) === undefined) {
    invalid(`${flags.macAddress} is not a valid mac address`);
  }
  const given = flags.networks.map(parseNetwork);
  const [first = emptyEndpoint('default'), ...others] = given;
  const all = [withContainerFlags(first, flags), ...others];
  checkTogether(all);
  const [main = first] = all;
  const dockerMode = main.network;
  if (isUserDefined(dockerMode)) {
    for (const endpoint of all) checkAddresses(endpoint);
    return { mode: 'user-defined', dockerMode, endpoints: all };
  }
  if (main.aliases.length > 0) {
    invalid('network-scoped aliases are only supported for user-defined networks');
  }
  checkAddresses(main);
  if (main.ip !== undefined || main.ip6 !== undefined) {
    throw new TsvmError(
      'invalid-container',
      'user specified IP address is supported on user defined networks only',
    );
  }
  if (dockerMode === 'none') return { mode: 'none', dockerMode, endpoints: [] };
  return { mode: 'default', dockerMode, endpoints: [], mac: main.mac };
}

function emptyEndpoint(network: string): EndpointSettings {
  return { network, aliases: [] };
}

/** The name of a network, or `name=NAME,alias=ALIAS,...`. */
function parseNetwork(text: string): EndpointSettings {
  if (!/\w+=\w+/.test(text)) {
    if (text === '') invalid('no name set for network');
    return emptyEndpoint(text);
  }
  const aliases: string[] = [];
  const values = new Map<string, string>();
  for (const field of csvFields(text)) {
    const equals = field.indexOf('=');
    if (equals <= 0) throw invalidArgument(text, 'network', `invalid field ${field}`);
    const key = field.slice(0, equals).trim().toLowerCase();
    const value = field.slice(equals + 1).trim();
    if (key === 'alias') aliases.push(value);
    else if (['name', 'ip', 'ip6', 'mac-address'].includes(key)) values.set(key, value);
    else if (!['link-local-ip', 'driver-opt', 'gw-priority'].includes(key)) {
      throw invalidArgument(text, 'network', `invalid field key ${key}`);
    }
  }
  const network = values.get('name') ?? '';
  if (network === '') throw invalidArgument(text, 'network', 'network name/id is not specified');
  const mac = values.get('mac-address');
  if (mac !== undefined && parseMacAddress(plainMac(mac)) === undefined) {
    throw invalidArgument(text, 'network', `${mac} is not a valid mac address`);
  }
  return { network, aliases, ip: values.get('ip'), ip6: values.get('ip6'), mac };
}

/** The flags without a network are for the first one. */
function withContainerFlags(endpoint: EndpointSettings, flags: NetworkFlags): EndpointSettings {
  const { aliases, ip, ip6, macAddress } = flags;
  const conflict = (flag: string, what: string): never =>
    invalid(`conflicting options: cannot specify both --${flag} and per-network ${what}`);
  if (aliases.length > 0 && endpoint.aliases.length > 0) conflict('network-alias', 'alias');
  if (ip !== undefined && endpoint.ip !== undefined) conflict('ip', 'IPv4 address');
  if (ip6 !== undefined && endpoint.ip6 !== undefined) conflict('ip6', 'IPv6 address');
  if (macAddress !== undefined && endpoint.mac !== undefined)
    conflict('mac-address', 'MAC address');
  return {
    network: endpoint.network,
    aliases: [...endpoint.aliases, ...aliases],
    ip: endpoint.ip ?? ip,
    ip6: endpoint.ip6 ?? ip6,
    mac: plainMac(endpoint.mac ?? macAddress ?? '') || undefined,
  };
}

/** Docker also takes addresses with hyphens. */
function plainMac(text: string): string {
  return text.trim().toLowerCase().replaceAll('-', ':');
}

function checkTogether(endpoints: readonly EndpointSettings[]): void {
  const names = new Set<string>();
  for (const { network } of endpoints) {
    if (names.has(network))
      invalid(`network ${JSON.stringify(network)} is specified multiple times`);
    names.add(network);
    checkShared(network);
  }
  if (names.size > 1 && ![...names].every(isUserDefined)) {
    invalid(
      'conflicting options: cannot attach both user-defined and non-user-defined network-modes',
    );
  }
}

/** Networks of the host and of other containers belong to another kernel. */
function checkShared(network: string): void {
  const [kind] = network.split(':');
  if (kind !== 'host' && kind !== 'container' && kind !== 'ns') return;
  throw new TsvmError(
    'invalid-container',
    `network mode "${network}" is not supported: a container is a virtual machine with a network ` +
      'of its own; publish ports by -p, reach the host by --add-host NAME:host-gateway, and other ' +
      'containers on a network of "tsvm network create"',
  );
}

export function isUserDefined(network: string): boolean {
  return !DEFAULT_NAMES.includes(network) && network !== 'none' && network !== 'host';
}

function checkAddresses({ ip, ip6 }: EndpointSettings): void {
  if (ip !== undefined && !isIPv4(ip)) {
    throw new TsvmError('invalid-container', `invalid IPv4 address: ${ip}`);
  }
  if (ip6 !== undefined && !isIPv6(ip6)) {
    throw new TsvmError('invalid-container', `invalid IPv6 address: ${ip6}`);
  }
}
