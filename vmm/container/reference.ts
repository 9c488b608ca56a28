/**
 * Names of images, as Docker reads and shows them (the grammar of the distribution project's
 * reference package): `[registry[:port]/]path[:tag][@digest]`.
 */
import { TsvmError } from '../errors.ts';
import { type Digest, parseDigest } from './digest.ts';

/** An image's name with everything that may be left out filled in. */
export interface Reference {
  /** Host of the registry, with its port when it was given: `docker.io`, `localhost:5000`. */
  readonly domain: string;
  /** The repository in it: `library/busybox`. */
  readonly path: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

export const DEFAULT_DOMAIN = 'docker.io';
export const DEFAULT_TAG = 'latest';
const OLD_DEFAULT_DOMAIN = 'index.docker.io';
const OFFICIAL_PREFIX = 'library/';
/** Of domain and path together, with the slash between. */
const NAME_LENGTH_MAX = 255;

const DOMAIN =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;

function invalid(detail = ''): TsvmError {
  return new TsvmError('invalid-reference', `invalid reference format${detail}`);
}

/**
 * Reads a name. Neither tag nor digest is filled in: see {@link withDefaultTag}.
 * @throws TsvmError `invalid-reference`
 */
export function parseReference(text: string): Reference {
  if (/^[a-f0-9]{64}$/.test(text)) {
    throw new TsvmError(
      'invalid-reference',
      `invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`,
    );
  }
  const [name, tag, digestText] = splitSuffixes(text);
  const { domain, path } = splitDomain(name);
  if (path !== path.toLowerCase()) {
    throw invalid(`: repository name (${path}) must be lowercase`);
  }
  if (!DOMAIN.test(domain) || !path.split('/').every((part) => PATH_COMPONENT.test(part))) {
    throw invalid();
  }
  if (domain.length + 1 + path.length > NAME_LENGTH_MAX) {
    throw new TsvmError(
      'invalid-reference',
      `repository name must not be more than ${NAME_LENGTH_MAX} characters`,
    );
  }
  if (tag !== undefined && !isTag(tag)) throw invalid();
  const digest = digestText === undefined ? undefined : parseDigest(digestText);
  if (digestText !== undefined && digest === undefined) throw invalid();
  return { domain, path, tag, digest };
}

export function isTag(text: string): boolean {
  return TAG.test(text);
}

/** Takes `@digest` and `:tag` off: a colon before the last slash is a port's. */
function splitSuffixes(text: string): [string, string | undefined, string | undefined] {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  // A name that begins with a bracket is an IPv6 address without a path: no name at all.
  if (colon < 0 || named.startsWith('[', named.lastIndexOf('/') + 1)) {
    return [named, undefined, digest];
  }
  return [named.slice(0, colon), named.slice(colon + 1), digest];
}

/** A first part with a dot, a colon or an upper-case letter is a host. */
function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, slash);
  const isHost =
    slash >= 0 && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  const given = isHost ? first : DEFAULT_DOMAIN;
  const domain = given === OLD_DEFAULT_DOMAIN ? DEFAULT_DOMAIN : given;
  const rest = isHost ? name.slice(slash + 1) : name;
  const official = domain === DEFAULT_DOMAIN && !rest.includes('/');
  return { domain, path: official ? OFFICIAL_PREFIX + rest : rest };
}

/** With neither tag nor digest it is the tag `latest`. */
export function withDefaultTag(reference: Reference): Reference {
  if (reference.tag !== undefined || reference.digest !== undefined) return reference;
  return { ...reference, tag: DEFAULT_TAG };
}

/** Domain and path, which all tags of a repository share. */
export function repositoryName({ domain, path }: Reference): string {
  return `${domain}/${path}`;
}

/** Parses the result of {@link referenceText} without checks. */
export function storedReference(text: string): Reference {
  const slash = text.indexOf('/');
  const at = text.indexOf('@', slash);
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.indexOf(':', slash);
  return {
    domain: text.slice(0, slash),
    path: named.slice(slash + 1, colon < 0 ? undefined : colon),
    tag: colon < 0 ? undefined : named.slice(colon + 1),
    digest: at < 0 ? undefined : (text.slice(at + 1) as Digest),
  };
}

/** The name in full, as it is stored. */
export function referenceText(reference: Reference): string {
  return repositoryName(reference) + suffix(reference);
}

/** The repository in its short form, without defaults. */
export function familiarName({ domain, path }: Reference): string {
  if (domain !== DEFAULT_DOMAIN) return `${domain}/${path}`;
  const short = path.startsWith(OFFICIAL_PREFIX) ? path.slice(OFFICIAL_PREFIX.length) : path;
  return short.includes('/') ? path : short;
}

/** The name as people write it. */
export function familiarText(reference: Reference): string {
  return familiarName(reference) + suffix(reference);
}

function suffix({ tag, digest }: Reference): string {
  return (tag === undefined ? '' : `:${tag}`) + (digest === undefined ? '' : `@${digest}`);
}
