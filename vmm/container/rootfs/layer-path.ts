import { TsvmError } from '../../errors.ts';

/** Linux's limits: NAME_MAX, and PATH_MAX with its NUL. */
export const NAME_BYTES_MAX = 255;
export const PATH_BYTES_MAX = 4095;

/** The error for a layer member that cannot exist in a file system. */
export function badMember(name: string, what: string): TsvmError {
  const shown = JSON.stringify(Buffer.from(name.slice(0, 200), 'latin1').toString('utf8'));
  return new TsvmError('invalid-image', `the layer is malformed: ${shown} ${what}`);
}

/**
 * Splits a member's name into its parts, starting at the root. Absolute names are relative to the
 * image's root. `.` and `..` are resolved lexically, as Docker does.
 * @throws TsvmError `invalid-image` for a name that leaves the image or is too long
 */
export function splitLayerPath(name: string): string[] {
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (parts.pop() === undefined) throw badMember(name, 'leads out of the image');
    } else parts.push(part);
    if (part.length > NAME_BYTES_MAX) throw badMember(name, 'has a part of more than 255 bytes');
  }
  if (name.length > PATH_BYTES_MAX) throw badMember(name, 'is longer than 4095 bytes');
  return parts;
}
