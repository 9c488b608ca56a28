import { fstatSync } from 'node:fs';
import {
  fileIdentity,
  identityOf,
  writtenIdentities,
} from '../../backends/disk/file/file-identity.ts';
import type { ImageFile } from '../../backends/disk/file/image-file.ts';
import { type ChainFile, chainFiles } from '../../backends/disk/image/chain-files.ts';
import type { DiskImage } from '../../backends/disk/image/image.ts';
import { TsvmError } from '../../errors.ts';

/** Whether two open files are the same file of the host. */
export function isSameFile(one: ImageFile, other: ImageFile): boolean {
  return identityOf(fstatSync(one.fd)) === identityOf(fstatSync(other.fd));
}

/** The depth of a named file in an image's chain; 0 is the image itself. */
export function depthInChain(path: string, image: DiskImage | undefined): number | undefined {
  const identity = fileIdentity(path);
  if (identity === undefined) return undefined;
  return findIn(image, new Set([identity]))?.depth;
}

/**
 * Refuses a target that is also a source: one of the images, in the chain of one, or a data file.
 * @throws TsvmError `invalid-config`
 */
export function refuseFileInUse(path: string, images: readonly DiskImage[]): void {
  const written = writtenIdentities(path);
  for (const image of images) {
    const found = findIn(image, written);
    if (found === undefined) continue;
    const { depth, isDataFile } = found;
    const role = isDataFile
      ? `the data file of ${depth === 0 ? 'the source' : 'a backing file'}`
      : depth === 0
        ? 'the source'
        : `in the backing chain of ${image.file.path}`;
    throw new TsvmError('invalid-config', `${path} is ${role}: it cannot also be the target`);
  }
}

/**
 * Likewise for an image that is written in place: its data file may be a source.
 * @throws TsvmError `invalid-config`
 */
export function refuseSharedFiles(target: DiskImage, images: readonly DiskImage[]): void {
  for (const { file, depth } of chainFiles(target)) {
    if (depth === 0) refuseFileInUse(file.path, images);
  }
}

function findIn(
  image: DiskImage | undefined,
  identities: ReadonlySet<string>,
): ChainFile | undefined {
  if (image === undefined) return undefined;
  return chainFiles(image).find(({ file }) => identities.has(identityOf(fstatSync(file.fd))));
}
