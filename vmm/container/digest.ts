import { createHash, type Hash } from 'node:crypto';
import { TsvmError } from '../errors.ts';
import { sha256 } from '../host/sha256.ts';

/** `algorithm:hex`, a content hash: OCI image-spec, "Digests". */
export type Digest = string & { readonly brand: 'digest' };

/** The registered algorithms and their number of hexadecimal digits. */
const HEX_DIGITS: Readonly<Record<string, number>> = { sha256: 64, sha512: 128 };

/**
 * Parses a digest. The result is safe as part of a path: a registered algorithm, a colon and
 * lower-case hexadecimal digits.
 */
export function parseDigest(text: unknown): Digest | undefined {
  if (typeof text !== 'string') return undefined;
  const colon = text.indexOf(':');
  const algorithm = text.slice(0, colon);
  const digits = Object.hasOwn(HEX_DIGITS, algorithm) ? HEX_DIGITS[algorithm] : undefined;
  const hex = text.slice(colon + 1);
  return hex.length === digits && /^[0-9a-f]+$/.test(hex) ? (text as Digest) : undefined;
}

/** @throws TsvmError `invalid-image`; `what` says whose digest it is */
export function digestOf(text: unknown, what: string): Digest {
  const digest = parseDigest(text);
  if (digest !== undefined) return digest;
  const shown = JSON.stringify(text)?.slice(0, 100) ?? 'nothing';
  throw new TsvmError('invalid-image', `${what} has no valid digest: ${shown}`);
}

export function digestAlgorithm(digest: Digest): string {
  return digest.slice(0, digest.indexOf(':'));
}

export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** A hash that {@link finishDigest} makes a digest of. */
export function digestHash(digest?: Digest): Hash {
  return createHash(digest === undefined ? 'sha256' : digestAlgorithm(digest));
}

export function finishDigest(hash: Hash, like?: Digest): Digest {
  const algorithm = like === undefined ? 'sha256' : digestAlgorithm(like);
  return `${algorithm}:${hash.digest('hex')}` as Digest;
}

/** The digest of bytes in memory, by the algorithm of `like` (sha256 when absent). */
export function digestBytes(bytes: Uint8Array, like?: Digest): Digest {
  if (like === undefined || digestAlgorithm(like) === 'sha256') {
    return `sha256:${sha256(bytes).toString('hex')}` as Digest;
  }
  return finishDigest(digestHash(like).update(bytes), like);
}
