import { dirname, extname, isAbsolute, join } from 'node:path';
import { type DiskFormat, isDiskFormat } from '../../backends/disk/format.ts';
import { TsvmError } from '../../errors.ts';

/** A backing file that the user names for an image. */
export interface BackingChoice {
  /** As the header is to say it: relative to the image's folder unless absolute. */
  readonly name: string;
  readonly format: DiskFormat;
  /** Where it is. */
  readonly path: string;
}

/**
 * @param format as given; a name that ends in a format's is enough, since nothing else is called so
 * @throws TsvmError `invalid-config` when the format is not known: an image has to say it, since no
 * one may guess it later
 */
export function backingChoice(
  imagePath: string,
  name: string,
  format: DiskFormat | undefined,
): BackingChoice {
  const extension = extname(name).slice(1).toLowerCase();
  const told = format ?? (isDiskFormat(extension) ? extension : undefined);
  if (told === undefined) {
    throw new TsvmError(
      'invalid-config',
      `the format of the backing file ${name} has to be said: use -F raw or -F qcow2`,
    );
  }
  return {
    name,
    format: told,
    path: isAbsolute(name) ? name : join(dirname(imagePath), name),
  };
}
