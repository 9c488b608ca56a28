import { constants, openSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { TsvmError } from '../errors.ts';
import { writeProblem } from '../host/write-problem.ts';
import type { Logger } from '../observability/logger.ts';
import { fsPath } from '../util/byte-names.ts';
import { errnoCode } from './output-descriptor.ts';

const FLAGS =
  constants.O_WRONLY |
  constants.O_CREAT |
  constants.O_TRUNC |
  constants.O_NONBLOCK |
  constants.O_NOCTTY;

const READER_POLL_MS = 50;
/** Time to wait for the reader of a named pipe before logging a message. */
const WAIT_TOLD_MS = 500;

function tryOpen(path: string): number | undefined {
  try {
    return openSync(fsPath(path), FLAGS, 0o644);
  } catch (cause) {
    // A named pipe without a reader: the caller tries again.
    if (errnoCode(cause) === 'ENXIO' && statSync(fsPath(path)).isFIFO()) return undefined;
    throw new TsvmError(
      'file-unreadable',
      `${path} cannot be written (${writeProblem(cause)}): choose another file`,
      { cause },
    );
  }
}

/**
 * Creates or truncates the file for a console's output. For a named pipe, waits for its reader.
 * @returns the descriptor, which the caller closes
 * @throws TsvmError `file-unreadable`; the signal's reason when aborted
 */
export async function openConsoleFile(
  path: string,
  logger: Logger,
  signal: AbortSignal,
): Promise<number> {
  const startMs = performance.now();
  for (let told = false; ; ) {
    const fd = tryOpen(path);
    if (fd !== undefined) return fd;
    if (!told && performance.now() - startMs >= WAIT_TOLD_MS) {
      logger.info(`waiting for a program that reads ${path}, such as "cat ${path}"`);
      told = true;
    }
    await sleep(READER_POLL_MS, undefined, { signal });
  }
}

/** True when both paths name the same file. */
function sameFile(a: string, b: string): boolean {
  try {
    const [first, second] = [statSync(fsPath(a)), statSync(fsPath(b))];
    return first.dev === second.dev && first.ino === second.ino;
  } catch {
    return false;
  }
}

/**
 * Refuses to overwrite a file that the machine uses.
 * @param target file to be overwritten, if any
 * @throws TsvmError `invalid-config`
 */
export function refuseInput(
  option: string,
  target: string | undefined,
  inputs: readonly (string | undefined)[],
): void {
  if (target === undefined) return;
  for (const input of inputs) {
    if (input === undefined || !sameFile(target, input)) continue;
    throw new TsvmError(
      'invalid-config',
      `${option} would overwrite ${input}, which the machine uses: choose another file`,
    );
  }
}
