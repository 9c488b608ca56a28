/** The background process of `tsvm boot --detach`. */
import { closeSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Set for the background process: the path of its log, which has no name yet. */
export const LOG_VARIABLE = 'TSVM_DETACHED_LOG';
/** A pipe to the foreground process, which gets the machine's name once the machine runs. */
export const READY_FD = 3;

export interface Detached {
  /** Path that the log of a machine has once it is {@link ready}. */
  logPath(name: string): string;
  /** The machine runs: the command in the foreground gives the log its path, and ends. */
  ready(name: string): void;
}

/** The path of a machine's log, which is that of its draft until the machine runs. */
export function logPathOf(draftPath: string, name: string): string {
  return join(dirname(draftPath), `${name}.log`);
}

/** Undefined unless `startDetached()` started this process. Call it once. */
export function detachedProcess(): Detached | undefined {
  const draftPath = process.env[LOG_VARIABLE];
  if (draftPath === undefined) return undefined;
  // Not for the programs that this process starts.
  delete process.env[LOG_VARIABLE];
  return {
    logPath: (name) => logPathOf(draftPath, name),
    ready: (name) => {
      writeSync(READY_FD, `${name}\n`);
      closeSync(READY_FD);
    },
  };
}
