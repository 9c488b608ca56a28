/** `-p` and `--expose`, as Docker's client reads them. Docker's documentation: "Port publishing". */
import { isIP } from 'node:net';
import { TsvmError } from '../../errors.ts';
import type { PortBinding } from './network-settings.ts';

const PROTOCOLS = ['tcp', 'udp', 'sctp'];
const PORT_MAX = 65_535;
/** More would be a mistake, or an attack by an image. */
const PORTS_MAX = 4096;

function invalid(message: string): never {
  throw new TsvmError('invalid-config', message);
}

interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** A number of 16 bits; undefined: not one. */
function portNumber(text: string): number | undefined {
  const port = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return port <= PORT_MAX ? port : undefined;
}

/** A port, or two with `-` between them. @throws RangeError with Docker's message */
function portRange(text: string): PortRange {
  if (text === '') throw new RangeError('empty string specified for ports');
  const [start = '', ...rest] = text.split('-');
  const end = rest.length === 0 ? start : rest.join('-');
  for (const part of [start, end]) {
    if (portNumber(part) !== undefined) continue;
    const isNumber = /^\d+$/.test(part);
    const reason = isNumber ? 'value out of range' : 'invalid syntax';
    throw new RangeError(`strconv.ParseUint: parsing ${JSON.stringify(part)}: ${reason}`);
  }
  const range = { first: Number(start), last: Number(end) };
  if (range.last < range.first) throw new RangeError(`invalid range specified for port: ${text}`);
  return range;
}

function tryRange(text: string): PortRange | undefined {
  try {
    return portRange(text);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** `80/tcp` in its parts; the protocol is tcp when there is none. */
function splitProtocol(text: string): { port: string; protocol: string } {
  const [port = '', protocol = ''] = text.split('/');
  if (port === '') return { port: '', protocol: '' };
  return { port, protocol: protocol === '' ? 'tcp' : protocol };
}

/** `[ADDRESS:][HOST-PORT]:PORT[/PROTOCOL]` in its parts; an address may contain colons. */
function splitPublication(text: string): { address: string; hostPort: string; port: string } {
  const parts = text.split(':');
  const port = parts.pop() ?? '';
  const hostPort = parts.pop() ?? '';
  return { address: parts.join(':'), hostPort, port };
}

/** `published=8080,target=80,protocol=tcp` in the short form. */
function shortForm(text: string): string {
  if (!text.includes('=')) return text;
  const fields = new Map([['protocol', 'tcp']]);
  for (const field of text.split(',')) {
    const equals = field.indexOf('=');
    if (equals <= 0) {
      invalid(`invalid publish opts format (should be name=value but got '${field}')`);
    }
    fields.set(field.slice(0, equals), field.slice(equals + 1));
  }
  const value = (name: string) => fields.get(name) ?? '';
  return `${value('published')}:${value('target')}/${value('protocol')}`;
}

function hostAddress(text: string): string {
  const address = /^\[.*\]$/.test(text) ? text.slice(1, -1) : text;
  if (address !== '' && isIP(address) === 0) invalid(`invalid IP address: ${address}`);
  return address;
}

/**
 * Reads all `-p` of a command line.
 * @returns `80/tcp` → where it is published
 * @throws TsvmError `invalid-config` with Docker's message
 */
export function parsePublications(texts: readonly string[]): Map<string, PortBinding[]> {
  const bindings = new Map<string, PortBinding[]>();
  for (const text of texts.map(shortForm)) {
    for (const [port, binding] of parsePublication(text)) {
      bindings.set(port, [...(bindings.get(port) ?? []), binding]);
    }
  }
  return bindings;
}

function parsePublication(text: string): [string, PortBinding][] {
  const { address: addressText, hostPort, port: portText } = splitPublication(text);
  const { port, protocol: protocolText } = splitProtocol(portText);
  const address = hostAddress(addressText);
  if (port === '') invalid(`no port specified: ${text}<empty>`);
  const range = tryRange(port) ?? invalid(`invalid containerPort: ${port}`);
  const host =
    hostPort === '' ? undefined : (tryRange(hostPort) ?? invalid(`invalid hostPort: ${hostPort}`));
  const count = range.last - range.first;
  if (host !== undefined && host.last - host.first !== count && count !== 0) {
    invalid(`invalid ranges specified for container and host Ports: ${port} and ${hostPort}`);
  }
  const protocol = protocolText.toLowerCase();
  if (!PROTOCOLS.includes(protocol)) invalid(`invalid proto: ${protocolText}`);
  if (count >= PORTS_MAX) invalid(`${text}: more than ${PORTS_MAX} ports`);
  return Array.from({ length: count + 1 }, (_, index) => {
    const own = host === undefined ? '' : String(host.first + index);
    const isChoice = count === 0 && host !== undefined && host.last !== host.first;
    const binding = { hostAddress: address, hostPort: isChoice ? `${own}-${host.last}` : own };
    return [`${range.first + index}/${protocol}`, binding];
  });
}

/**
 * Reads an `--expose`.
 * @returns `80/tcp`, ...
 * @throws TsvmError `invalid-config` with Docker's message
 */
export function parseExposure(text: string): string[] {
  if (text.includes(':')) invalid(`invalid port format for --expose: ${text}`);
  const { port, protocol } = splitProtocol(text);
  try {
    const { first, last } = portRange(port);
    if (last - first >= PORTS_MAX) invalid(`${text}: more than ${PORTS_MAX} ports`);
    return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${protocol}`);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return invalid(`invalid range format for --expose: ${text}, error: ${error.message}`);
  }
}

/** By number, then protocol. */
export function comparePorts(a: string, b: string): number {
  return Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : Number(a > b));
}
