import { readFileSync, type Stats, statSync } from 'node:fs';
import { fsPath } from '../../../util/byte-names.ts';

/** Loop devices on files on loop devices… */
const LOOP_DEPTH_MAX = 8;

/**
 * What a file is on the host: the same for each of its names, hard links and device nodes included.
 * @returns undefined when nothing has that name, or it may not be looked at
 */
export function fileIdentity(path: string): string | undefined {
  const stats = statIfThere(path);
  return stats && identityOf(stats);
}

/** The same of an open file, with what fstat(2) says. */
export function identityOf({ dev, ino, mode, rdev }: Stats): string {
  const isBlockDevice = (mode & 0o170000) === 0o060000;
  return isBlockDevice ? `block:${rdev}` : `${dev}:${ino}`;
}

/**
 * Identities of all that changes when the file is written: itself, and the file behind a loop
 * device.
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

/** Where a block device's number is shown: Documentation/ABI/stable/sysfs-block. */
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
