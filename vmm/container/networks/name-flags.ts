/** `--add-host`, `--dns` and `--dns-search`, as Docker's client reads them. */
import { isIP } from 'node:net';
import { TsvmError } from '../../errors.ts';

/** Stands for the host in `--add-host`. */
export const HOST_GATEWAY = 'host-gateway';

const DOMAIN_LENGTH_MAX = 255;
const DOMAIN =
  /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]{0,61}[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]{0,61}[a-zA-Z0-9]))*\.?$/;

/** Docker's error about the value of a flag. */
export function invalidArgument(value: string, flag: string, reason: string): TsvmError {
  return new TsvmError(
    'invalid-config',
    `invalid argument ${JSON.stringify(value)} for "--${flag}" flag: ${reason}`,
  );
}

/** @returns `NAME:ADDRESS` @throws TsvmError `invalid-config` */
export function parseExtraHost(text: string): string {
  const separator = text.includes('=') ? '=' : ':';
  const index = text.indexOf(separator);
  const name = text.slice(0, Math.max(index, 0));
  if (name === '' || name.includes(':')) {
    throw invalidArgument(text, 'add-host', `bad format for add-host: ${JSON.stringify(text)}`);
  }
  const value = text.slice(index + 1);
  if (value === HOST_GATEWAY) return `${name}:${value}`;
  const address = /^\[.+\]$/.test(value) ? value.slice(1, -1) : value;
  if (isIP(address) === 0 || /\s/.test(name)) {
    const reason = `invalid IP address in add-host: ${JSON.stringify(address)}`;
    throw invalidArgument(text, 'add-host', reason);
  }
  return `${name}:${address}`;
}

/** @throws TsvmError `invalid-config` */
export function parseNameServer(text: string): string {
  if (isIP(text.trim()) !== 0) return text.trim();
  throw invalidArgument(text, 'dns', `IP address is not correctly formatted: ${text}`);
}

/** A dot means: no search domains. @throws TsvmError `invalid-config` */
export function parseSearchDomain(text: string): string {
  const domain = text.trim();
  if (domain === '.') return domain;
  const isDomain =
    domain.length <= DOMAIN_LENGTH_MAX && DOMAIN.test(domain) && /[a-zA-Z]/.test(domain);
  if (!isDomain) throw invalidArgument(text, 'dns-search', `${text} is not a valid domain`);
  return domain.replace(/\.$/, '');
}

/** @throws TsvmError `invalid-config` */
export function parseDnsOption(text: string): string {
  if (!/[\s\0]/.test(text)) return text;
  throw invalidArgument(text, 'dns-option', 'an option has no spaces');
}
