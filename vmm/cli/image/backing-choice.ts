import { existsSync } from 'node:fs';
import { dirname, extname, isAbsolute, join } from 'node:path';
import { type ImageFormat, isImageFormat } from '../../backends/disk/image/format.ts';
import { hasProtocol, parseImageName } from '../../backends/disk/image/image-name.ts';
import { signatureOf } from '../../backends/disk/image/signatures.ts';
import { TsvmError } from '../../errors.ts';
import { fsPath } from '../../util/byte-names.ts';

/** A backing file that the user names for an image. */
export interface BackingChoice {
  /** As the header is to say it: relative to the image's folder unless absolute. */
  readonly name: string;
  readonly format: ImageFormat;
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
  format: ImageFormat | undefined,
): BackingChoice {
  const named = parseImageName(name);
  const file = named?.path ?? name;
  const extension = extname(file).slice(1).toLowerCase();
  const told = [format, named?.format, extension].find((word) => word !== undefined);
  if (told === undefined || !isImageFormat(told)) {
    throw new TsvmError(
      'invalid-config',
      `the format of the backing file ${name} has to be said: use -F raw or -F qcow2`,
    );
  }
  const path = isAbsolute(file) ? file : join(dirname(imagePath), file);
  if (isAmbiguous(name) && !existsSync(fsPath(path))) {
    throw new TsvmError(
      'invalid-config',
      `"${name}" in an image would be read as a protocol: for a file of that name, write "./${name}"`,
    );
  }
  return { name: headerName(name), format: told, path };
}

/**
 * A file's name as a header has to say it: QEMU and tsvm read what has a colon before its first
 * slash as a protocol.
 */
export function headerName(name: string): string {
  return isAmbiguous(name) ? `./${name}` : name;
}

/** It looks like a protocol, and is in no form that has one. */
function isAmbiguous(name: string): boolean {
  const isUrl = /^[^/:]*:\/\//.test(name);
  return hasProtocol(name) && !isUrl && parseImageName(name) === undefined;
}

/** Says it when a file is used as raw that begins like an image of another format. */
export function warnOfContent(verb: string, { format, path }: BackingChoice): void {
  const found = format === 'raw' ? signatureOf(path) : undefined;
  if (found === undefined) return;
  process.stderr.write(
    `tsvm image ${verb}: ${path} begins like a ${found} image, and is used as a raw disk: ` +
      `if that is not meant, use -F ${found}\n`,
  );
}
