/** The hidden names of files that are not complete yet, and the removal of abandoned ones. */
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { fsPath } from '../util/byte-names.ts';
import type { FileLocks } from './file-locks.ts';
import { randomHex } from './random.ts';

/** Short, so that it is a legal name in every folder, however long the final name is. */
const NAME = /^\.tsvm-(\d+)-(\d+)-[0-9a-f]{8}\.partial$/;

/**
 * The age from which an unlocked draft counts as abandoned, in `ms`: its process may be alive in
 * another PID namespace.
 */
const ABANDONED_AGE_MS = 3_600_000;

/** A new name, which identifies the process it belongs to. */
export function draftName(): string {
  const { pid } = process;
  return `.tsvm-${pid}-${startTime(pid) ?? 0}-${randomHex(4)}.partial`;
}

/**
 * Removes the drafts of a folder whose processes have ended. Never fails: what cannot be removed
 * stays.
 * @param locks writers lock their drafts, so any unlocked one is abandoned; without it, drafts are
 * removed when they are an hour old
 */
export function removeAbandonedDrafts(folder: string, locks?: FileLocks): void {
  for (const name of namesIn(folder)) {
    const [, pid, started] = NAME.exec(name) ?? [];
    if (pid === undefined || startTime(Number(pid)) === started) continue;
    const path = join(folder, name);
    try {
      if (locks !== undefined) removeUnlocked(path, locks);
      else if (Date.now() - statSync(fsPath(path)).mtimeMs > ABANDONED_AGE_MS)
        rmSync(fsPath(path), { recursive: true });
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

/** A process's start in clock ticks after the host's boot: field 22 of /proc/PID/stat, see proc(5). */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 2 is the program's name in parentheses, and may contain anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
