/** The foreground process of `tsvm boot --detach`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { TsvmError } from '../errors.ts';
import { draftName, removeAbandonedDrafts } from '../host/drafts.ts';
import { logFolder } from '../host/folders.ts';
import { ensurePrivateFolder } from '../host/private-folder.ts';
import { commandLine, fsPath } from '../util/byte-names.ts';
import { LOG_VARIABLE, logPathOf, READY_FD } from './detached-process.ts';
import { EXIT_OUR_FAILURE, exitCodeOfSignal } from './exit-codes.ts';
import { print, printMessage } from './standard-streams.ts';

/**
 * Starts this command line again in the background and waits until its machine runs, or fails.
 * @returns the exit code
 */
export async function startDetached(): Promise<number> {
  const folder = logFolder();
  if (folder === undefined) {
    throw new TsvmError(
      'file-unreadable',
      'there is no folder for the log: set HOME or TSVM_LOG_FOLDER',
    );
  }
  const words = commandLine();
  if (!words.every((word) => word.isWellFormed())) {
    throw new TsvmError(
      'invalid-config',
      'with --detach, file names must be valid UTF-8: rename them',
    );
  }
  ensurePrivateFolder(folder);
  removeAbandonedDrafts(folder);
  const logPath = join(folder, draftName());
  const logFd = openSync(fsPath(logPath), 'wx', 0o600);
  const child = spawn(process.execPath, [...process.execArgv, ...words.slice(1)], {
    detached: true,
    stdio: ['ignore', 'ignore', logFd, 'pipe'],
    env: { ...process.env, [LOG_VARIABLE]: logPath },
  });
  closeSync(logFd);
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill('SIGTERM'));
  }
  const ready = (await (child.stdio[READY_FD] as Readable).setEncoding('utf8').toArray()).join('');
  if (ready !== '') {
    // Here, because the background process is in its sandbox.
    renameSync(fsPath(logPath), fsPath(logPathOf(logPath, ready.trimEnd())));
    print(ready);
    return 0;
  }
  const [code, signal] = await exited;
  printMessage(readLog(logPath));
  if (signal !== null) return exitCodeOfSignal(constants.signals[signal]);
  return code === null || code === 0 ? EXIT_OUR_FAILURE : code;
}

function readLog(path: string): string {
  try {
    return readFileSync(fsPath(path), 'utf8');
  } finally {
    rmSync(fsPath(path), { force: true });
  }
}
