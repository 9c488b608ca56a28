import { readFileSync, type Stats, statSync } from 'node:fs';
import { fsPath } from '../../../util/byte-names.ts';

/** Bound for loop devices on files on loop devices. */
const LOOP_DEPTH_MAX = 8;

/**
 * Identifies a file of the host: the same for each of its names, including hard links and device
 * nodes.
 * @returns undefined when there is no such file, or it may not be examined
 */
export function fileIdentity(path: string): string | undefined {
  const stats = statIfThere(path);
  return stats && identityOf(stats);
}

/** The identity of an open file from the result of fstat(2). */
export function identityOf({ dev, ino, mode, rdev }: Stats): string {
  const isBlockDevice = (mode & 0o170000) === 0o060000;
  return isBlockDevice ? `block:${rdev}` : `${dev}:${ino}`;
}

/**
 * Identities of everything that changes when the file is written: the file, and the backing file of
 * a loop device.
 */
export function writtenIdentities(path: string): Set<string> {
  const identities = new Set<string>();
  let at: string | undefined = path;
  for (let depth = 0; at !== undefined && depth < LOOP_DEPTH_MAX; depth++) {
    const stats = statIfThere(at);
    if (stats === undefined) break;
    identities.add(identityOf(stats));
    at = stats.isBlockDevice() ? loopFile(stats) : undefined;
  }
  return identities;
}

function statIfThere(path: string): Stats | undefined {
  try {
    return statSync(fsPath(path), { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** The sysfs folder of a block device: Documentation/ABI/stable/sysfs-block. */
export function sysfsFolder({ rdev }: Stats): string {
  const major = Math.floor(rdev / 256) % 4096;
  const minor = (rdev % 256) + Math.floor(rdev / 2 ** 20) * 256;
  return `/sys/dev/block/${major}:${minor}`;
}

function loopFile(stats: Stats): string | undefined {
  try {
    return readFileSync(`${sysfsFolder(stats)}/loop/backing_file`, 'utf8').replace(/\n$/, '');
  } catch {
    return undefined;
  }
}
