import { lstatSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { fsPath } from '../../util/byte-names.ts';

/** What cannot be replaced by a new file, in Docker's words. A link would be replaced itself. */
const REFUSED: readonly (readonly [keyof Stats & `is${string}`, string])[] = [
  ['isDirectory', 'a directory'],
  ['isSymbolicLink', 'a symbolic link directly'],
  ['isFIFO', 'a named pipe (FIFO)'],
  ['isSocket', 'a socket'],
  ['isCharacterDevice', 'a character device file'],
  ['isBlockDevice', 'a block device file'],
];

/**
 * Checks the path of `-o`, before any work, with Docker's sentences.
 * @param task for the message: what fails
 * @throws TsvmError `invalid-config` unless it is a regular file or free
 */
export function checkOutputPath(path: string, task: string): void {
  const refuse = (reason: string) =>
    new TsvmError('invalid-config', `failed to ${task}: ${reason}`);
  const folder = dirname(path);
  const parent = statSync(fsPath(folder), { throwIfNoEntry: false });
  if (parent === undefined) {
    throw refuse(`invalid output path: stat ${folder}: no such file or directory`);
  }
  if (!parent.isDirectory()) throw refuse(`invalid output path: ${folder} is not a directory`);
  const stats = lstatSync(fsPath(path), { throwIfNoEntry: false });
  for (const [is, name] of REFUSED) {
    if (stats?.[is]()) throw refuse(`cannot write to ${name}`);
  }
}
