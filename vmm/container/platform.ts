import { arch } from 'node:os';
import { TsvmError } from '../errors.ts';
import { type JsonObject, stringAt } from './json.ts';

/** The platform of an image: OCI image-spec, "Image Index", `platform`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
}

/** Other tools' names of Go's architectures. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  x64: 'amd64',
  aarch64: 'arm64',
  i386: '386',
  i686: '386',
  ia32: '386',
};
/** Variants that are the default. */
const DEFAULT_VARIANTS: Readonly<Record<string, string>> = { arm64: 'v8', arm: 'v7', amd64: 'v1' };

/** Those of Go (`go tool dist list`), of which an image may have one. */
const KNOWN_ARCHITECTURES = new Set(
  '386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm'.split(
    ' ',
  ),
);

function normal(os: string, architecture: string, variant: string | undefined): Platform {
  const known = architecture.toLowerCase();
  const name = Object.hasOwn(ARCHITECTURES, known) ? (ARCHITECTURES[known] ?? known) : known;
  const isDefault = variant === '' || variant === DEFAULT_VARIANTS[name];
  return { os: os.toLowerCase(), architecture: name, variant: isDefault ? undefined : variant };
}

/** The platform of this host's virtual machines. */
export function hostPlatform(): Platform {
  return normal('linux', arch(), undefined);
}

/** The platform in an index or a configuration. */
export function platformOf(object: JsonObject): Platform {
  const os = stringAt(object, 'os') ?? '';
  return normal(os, stringAt(object, 'architecture') ?? '', stringAt(object, 'variant'));
}

/**
 * Reads `os[/architecture[/variant]]`, or an architecture alone.
 * @throws TsvmError `invalid-config`
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  const [first = '', second, third] = parts;
  if (parts.length > 3 || !parts.every((part) => /^[\w-]+$/.test(part))) {
    throw new TsvmError(
      'invalid-config',
      `"${text}": invalid platform: use os/architecture, e.g. linux/amd64`,
    );
  }
  if (second !== undefined) return normal(first, second, third);
  const host = hostPlatform();
  if (/^(linux|windows|darwin|freebsd)$/i.test(first)) return { ...host, os: first.toLowerCase() };
  const platform = normal(host.os, first, undefined);
  if (KNOWN_ARCHITECTURES.has(platform.architecture)) return platform;
  throw new TsvmError('invalid-config', `"${text}": unknown operating system or architecture`);
}

export function platformText({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter((part) => part !== undefined).join('/');
}

export function samePlatform(a: Platform, b: Platform): boolean {
  return a.os === b.os && a.architecture === b.architecture && a.variant === b.variant;
}

/** What Docker says of an image that is not for the wanted platform; undefined when it is. */
export function platformMismatch(
  reference: string,
  found: Platform,
  wanted: Platform | undefined,
): string | undefined {
  if (wanted === undefined || samePlatform(found, wanted)) return undefined;
  return (
    `image with reference ${reference} was found but its platform (${platformText(found)}) ` +
    `does not match the specified platform (${platformText(wanted)})`
  );
}
