import { existsSync } from 'node:fs';
import { dirname, extname, isAbsolute, join } from 'node:path';
import { type ImageFormat, isImageFormat } from '../../backends/disk/image/format.ts';
import { hasProtocol, parseImageName } from '../../backends/disk/image/image-name.ts';
import { signatureOf } from '../../backends/disk/image/signatures.ts';
import { TsvmError } from '../../errors.ts';
import { fsPath } from '../../util/byte-names.ts';
import { printMessage } from '../standard-streams.ts';

/** A backing file that the user specifies for an image. */
export interface BackingChoice {
  /** As stored in the header: relative to the image's folder unless absolute. */
  readonly name: string;
  readonly format: ImageFormat;
  /** Its path from here. */
  readonly path: string;
}

/**
 * @param format as given by the user; the name's suffix will do, since it is unambiguous
 * @throws TsvmError `invalid-config` when the format is not known: the image must contain it, since
 * nobody may guess it later
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
      `the format of the backing file ${name} is missing: use -F raw or -F qcow2`,
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
 * A file's name as stored in the header: QEMU and tsvm take a colon before the first slash for a
 * protocol.
 */
export function headerName(name: string): string {
  return isAmbiguous(name) ? `./${name}` : name;
}

/** Whether a name looks like a protocol although it is none. */
function isAmbiguous(name: string): boolean {
  const isUrl = /^[^/:]*:\/\//.test(name);
  return hasProtocol(name) && !isUrl && parseImageName(name) === undefined;
}

/** Warns when a file with another format's signature is used as raw. */
export function warnOfContent(verb: string, { format, path }: BackingChoice): void {
  const found = format === 'raw' ? signatureOf(path) : undefined;
  if (found === undefined) return;
  printMessage(
    `tsvm image ${verb}: ${path} begins like a ${found} image but is used as a raw disk: ` +
      `if that is not intended, use -F ${found}\n`,
  );
}
