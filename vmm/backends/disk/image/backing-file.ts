/**
 * Which files an image may make us open. An image is not trusted: it could name any file of the
 * host, and let a guest read it.
 */
import { realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { TsvmError } from '../../../errors.ts';
import { decodeBytes, fsPath } from '../../../util/byte-names.ts';
import { printable } from '../../../util/printable.ts';
import { type ImageFormat, isImageFormat } from './format.ts';
import { hasProtocol, type ImageName, parseImageName } from './image-name.ts';

/** What an image names: the file that it is based on, or the one its data is in. */
export type NamedFileRole = 'backing file' | 'data file';

/**
 * The path of a file that an image names.
 * @param imagePath the image that names it: names are relative to its folder (for a data file, where
 * QEMU takes the working directory, too: an image must not mean another file from elsewhere)
 * @param allowedFolder the file must be in this folder or below it; `undefined`: anywhere
 * @throws TsvmError `invalid-disk` when it is no file's name, `file-unreadable` when there is no
 * such file, `file-not-allowed` when it lies where the user has not allowed it
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
      `${shown} is no file: only files of the host are supported`,
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
 * The format of a backing file, as the image that is based on it says. It is never probed: a guest
 * that wrote it as a raw disk could have made it look like another image.
 * @throws TsvmError `invalid-disk` when it is not said, or cannot be served
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
    `the format of ${shown} is not said: put it in with "tsvm image rebase -u -F FORMAT -b ` +
      `${printable(name)} ${imagePath}", FORMAT being raw or qcow2`,
  );
}

/** @returns undefined when it names no file of the host */
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
