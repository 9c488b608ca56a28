/**
 * Which files an image may make us open. Images are untrusted: one could name any file of the host
 * for a guest to read.
 */
import { realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { TsvmError } from '../../../errors.ts';
import { decodeBytes, fsPath } from '../../../util/byte-names.ts';
import { printable } from '../../../util/printable.ts';
import { type ImageFormat, isImageFormat } from './format.ts';
import { hasProtocol, type ImageName, parseImageName } from './image-name.ts';

/** The files that an image can name. */
export type NamedFileRole = 'backing file' | 'data file';

/**
 * The path of a file that an image names.
 * @param imagePath the image that names it; names are relative to its folder, for data files too,
 * where QEMU takes the working directory: an image must not mean different files depending on that
 * @param allowedFolder the file must be in this folder or below; `undefined`: anywhere
 * @throws TsvmError `invalid-disk` when it does not name a file, `file-unreadable` when there is no
 * such file, `file-not-allowed` when the user has not allowed its location
 */
export function namedFilePath(
  role: NamedFileRole,
  name: string,
  imagePath: string,
  allowedFolder: string | undefined,
): string {
  const shown = `the ${role} "${printable(name)}" of ${imagePath}`;
  const file = parsedName(name)?.path;
  if (file === undefined) {
    throw new TsvmError(
      'invalid-disk',
      `${shown} is not a file: only files of the host are supported`,
    );
  }
  const path = isAbsolute(file) ? file : join(dirname(imagePath), file);
  let realPath: string;
  let realFolder: string | undefined;
  try {
    realPath = realPathOf(path);
    realFolder = allowedFolder === undefined ? undefined : realPathOf(allowedFolder);
  } catch (cause) {
    const reason = cause instanceof Error ? printable(cause.message) : String(cause);
    throw new TsvmError('file-unreadable', `${shown} cannot be opened: ${reason}`, { cause });
  }
  if (realFolder !== undefined && !isInside(realPath, realFolder)) {
    throw new TsvmError(
      'file-not-allowed',
      `${shown} is outside the image's folder: allow such files if you trust the image`,
    );
  }
  return path;
}

/**
 * The format of a backing file, as its overlay says. It is never probed: a guest that wrote the
 * file as a raw disk could have made it look like another image.
 * @throws TsvmError `invalid-disk` when it is missing or not supported
 */
export function backingFormat(
  format: string | undefined,
  name: string,
  imagePath: string,
): ImageFormat {
  const told = format ?? parsedName(name)?.format;
  if (told !== undefined && isImageFormat(told)) return told;
  const shown = `the backing file "${printable(name)}" of ${imagePath}`;
  if (told !== undefined) {
    throw new TsvmError(
      'invalid-disk',
      `${shown} is of the format ${printable(told)}, which is not supported`,
    );
  }
  throw new TsvmError(
    'invalid-disk',
    `the format of ${shown} is missing: add it with "tsvm image rebase -u -F FORMAT -b ` +
      `${printable(name)} ${imagePath}", FORMAT being raw or qcow2`,
  );
}

/** @returns undefined when it does not name a file of the host */
function parsedName(name: string): ImageName | undefined {
  try {
    return (
      parseImageName(name) ?? (hasProtocol(name) ? undefined : { path: name, format: undefined })
    );
  } catch {
    return undefined;
  }
}

function realPathOf(path: string): string {
  return decodeBytes(realpathSync.native(fsPath(path), { encoding: 'buffer' }));
}

function isInside(path: string, folder: string): boolean {
  const below = relative(folder, path);
  return below !== '' && below !== '..' && !below.startsWith('../');
}
