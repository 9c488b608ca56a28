/**
 * Names of images as QEMU writes them: QEMU's qemu(1), "Device URL Syntax" and -blockdev. Only
 * files of the host are supported: `file:NAME`, `json:{…}` and `driver=…,file.filename=NAME`.
 */
import { TsvmError } from '../../../errors.ts';

/** A file that a name refers to, and its format if the name includes that. */
export interface ImageName {
  readonly path: string;
  readonly format: string | undefined;
}

/** Drivers of files and block devices; their format is raw. */
const FILE_DRIVERS = ['file', 'host_device'];
/** Options that do not affect the image's content; alone, and below `file.`. */
const IGNORED =
  /^(file\.)?(node-name|read-only|auto-read-only|discard|detect-zeroes|aio|locking|cache(\..+)?)$/;

/** QEMU's rule: a colon before the first slash ends the name of a protocol, such as `nbd:`. */
export function hasProtocol(name: string): boolean {
  return /^[^/:]*:/.test(name);
}

/**
 * @returns undefined when the name has no such form: it is a path, or has another protocol
 * @throws TsvmError `invalid-config` for a `json:` name that does not refer to a file of the host
 */
export function parseImageName(name: string): ImageName | undefined {
  if (name.startsWith('file:')) return { path: name.slice('file:'.length), format: undefined };
  if (!name.startsWith('json:')) return undefined;
  let options: unknown;
  try {
    options = JSON.parse(name.slice('json:'.length));
  } catch {
    throw new TsvmError('invalid-config', `${name} is not JSON`);
  }
  const flat = new Map<string, unknown>();
  flatten('', options, flat);
  return imageOf(name, flat);
}

/**
 * Parses `driver=FORMAT,file.filename=NAME` of `--image-opts`; a comma in a value is doubled.
 * @throws TsvmError `invalid-config` when it does not refer to a file of the host
 */
export function parseImageOptions(text: string): ImageName {
  const options = splitOptions(text).map((part): [string, string] => {
    const at = part.indexOf('=');
    return at < 0 ? [part, 'on'] : [part.slice(0, at), part.slice(at + 1)];
  });
  return imageOf(text, new Map(options));
}

/** Splits options at commas. A comma in a value is doubled. */
export function splitOptions(list: string): string[] {
  // From the left: of three commas the first two are an escaped one, and the third separates.
  const parts = list.match(/(?:[^,]|,,)+/g) ?? [];
  return parts.map((part) => part.replaceAll(',,', ','));
}

function flatten(prefix: string, value: unknown, into: Map<string, unknown>): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    into.set(prefix, value);
    return;
  }
  for (const [key, part] of Object.entries(value)) {
    flatten(prefix === '' ? key : `${prefix}.${key}`, part, into);
  }
}

function imageOf(name: string, options: ReadonlyMap<string, unknown>): ImageName {
  const fail = (why: string): never => {
    throw new TsvmError('invalid-config', `${name} ${why}: only files of the host are supported`);
  };
  const text = (key: string): string | undefined => {
    const value = options.get(key);
    if (value === undefined || typeof value === 'string') return value;
    return fail(`has a "${key}" that is not a string`);
  };
  const driver = text('driver');
  const isFile = driver !== undefined && FILE_DRIVERS.includes(driver);
  const key = isFile ? 'filename' : 'file.filename';
  const path = text(key);
  const fileDriver = text('file.driver');
  if (fileDriver !== undefined && !FILE_DRIVERS.includes(fileDriver)) {
    fail(`names the driver ${fileDriver}`);
  }
  const known = ['driver', key, ...(isFile ? [] : ['file.driver'])];
  const other = [...options.keys()].find((word) => !known.includes(word) && !IGNORED.test(word));
  if (other !== undefined) fail(`has the option "${other}"`);
  if (path === undefined) return fail(`has no "${key}"`);
  return { path, format: isFile ? 'raw' : driver };
}
