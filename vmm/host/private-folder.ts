import { lstatSync } from 'node:fs';
import { TsvmError } from '../errors.ts';
import { fsPath } from '../util/byte-names.ts';
import { hasCode } from '../util/error-code.ts';
import { makeFolders } from './make-folders.ts';

const PRIVATE_MODE = 0o700;
const OTHERS_MAY_WRITE = 0o022;

/**
 * Creates a folder that only this user can write to, with its parents, or checks the one that exists.
 * @throws TsvmError `file-unreadable` when it cannot be created, is a link, belongs to another user or
 * can be written to by others
 */
export function ensurePrivateFolder(path: string): void {
  try {
    makeFolders(path, PRIVATE_MODE);
  } catch (cause) {
    if (!hasCode(cause, 'EEXIST')) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new TsvmError('file-unreadable', `the folder ${path} cannot be created (${reason})`, {
        cause,
      });
    }
  }
  const problem = privateFolderProblem(path);
  if (problem !== undefined) {
    throw new TsvmError('file-unreadable', `${path} is not safe to use: ${problem}`);
  }
}

/** Why other users could interfere with a folder; undefined when they cannot. */
export function privateFolderProblem(path: string): string | undefined {
  const stat = lstatSync(fsPath(path));
  if (!stat.isDirectory()) return 'it is not a folder; remove it';
  if (stat.uid !== process.geteuid?.()) return `it belongs to user ${stat.uid}; remove it`;
  if ((stat.mode & OTHERS_MAY_WRITE) === 0) return undefined;
  return 'other users can write to it; run "chmod go-w" on it';
}
