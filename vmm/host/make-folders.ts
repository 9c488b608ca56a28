import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { fsPath } from '../util/byte-names.ts';
import { hasCode } from '../util/error-code.ts';

/**
 * Makes a folder, and those above it that are missing. Node's own `recursive` never ends where mkdir(2)
 * answers ENOENT although the folder above is there: below /proc.
 * @param mode of all that are made
 * @throws the error of mkdir(2), with its `code`; EEXIST for what is no folder
 */
export function makeFolders(path: string, mode = 0o777): void {
  try {
    makeFolder(path, mode);
  } catch (error) {
    const above = dirname(path);
    if (!hasCode(error, 'ENOENT') || above === path) throw error;
    makeFolders(above, mode);
    makeFolder(path, mode);
  }
}

function makeFolder(path: string, mode: number): void {
  try {
    mkdirSync(fsPath(path), { mode });
  } catch (error) {
    // A file system may answer anything else before EEXIST, such as EROFS.
    if (hasCode(error, 'ENOENT') || !isFolder(path)) throw error;
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(fsPath(path)).isDirectory();
  } catch {
    return false;
  }
}
