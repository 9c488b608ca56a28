/** The hidden names of files that are not whole yet, and what killed processes leave of them. */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { FileLocks } from '../../backends/disk/file/lock.ts';
import { fsPath } from '../../util/byte-names.ts';

/** Short, so that it is a legal name in every folder, however long the target's name is. */
const NAME = /^\.tsvm-(\d+)-(\d+)-[0-9a-f]{8}\.partial$/;

/** A new one, which says what process it belongs to. */
export function partialName(): string {
  const { pid } = process;
  return `.tsvm-${pid}-${startTime(pid) ?? 0}-${randomBytes(4).toString('hex')}.partial`;
}

/**
 * Removes those in a folder whose process is gone. One in another PID namespace cannot be seen, but
 * its files are locked.
 */
export function removePartialFiles(folder: string, locks: FileLocks): void {
  for (const name of namesIn(folder)) {
    const [, pid, started] = NAME.exec(name) ?? [];
    if (pid === undefined || startTime(Number(pid)) === started) continue;
    try {
      removeUnlocked(join(folder, name), locks);
    } catch {
      // In use, or another user's.
    }
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(fsPath(folder));
  } catch {
    return [];
  }
}

/** @throws when it is locked, or may not be written */
function removeUnlocked(path: string, locks: FileLocks): void {
  const fd = openSync(fsPath(path), constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    locks.lockFile(fd, true, 0, 0);
    rmSync(fsPath(path));
  } finally {
    closeSync(fd);
  }
}

/** Clock ticks after the host's boot: field 22 of /proc/PID/stat, see proc(5). */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 2 is the program's name in parentheses, and may have anything in it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
