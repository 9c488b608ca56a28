/**
 * Exit codes of containers, kept outside of what a removal removes: whoever waits for a container that
 * `--rm` removes at its end finds its code here.
 */
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '../../host/atomic-file.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { hasCode } from '../../util/error-code.ts';
import { isContainerId } from './container-folders.ts';

export interface ExitRecord {
  readonly exitCode: number;
  readonly finishedMs: number;
  /** Empty unless something went wrong. */
  readonly error: string;
}

/** How long a code is kept after the container's end. */
const KEPT_MS = 24 * 3_600_000;
/** Files from which on old ones are looked for. */
const FILES_MANY = 200;

/** @param folder is created if necessary */
export function writeExitRecord(folder: string, id: string, record: ExitRecord): void {
  makeFolders(folder, 0o700);
  replaceFile(join(folder, id), `${JSON.stringify(record)}\n`);
}

/** Undefined when the container has not ended, or a long time ago. */
export function readExitRecord(folder: string, id: string): ExitRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, id), 'utf8')) as ExitRecord;
  } catch (error) {
    if (error instanceof SyntaxError || hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Removes codes that nobody will ask for any more. */
export function removeOldExitRecords(folder: string, nowMs = Date.now()): void {
  const names = readdirSync(folder).filter(isContainerId);
  if (names.length < FILES_MANY) return;
  for (const name of names) {
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat !== undefined && nowMs - stat.mtimeMs > KEPT_MS) rmSync(path, { force: true });
  }
}
