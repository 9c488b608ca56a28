import type { Command } from 'commander';

/** Sets the exit code of a verb that has completed. */
export type SetExitCode = (code: number) => void;

/** The module of a verb, loaded when the verb is run. */
export interface LoadedVerb {
  createCommand(setExitCode: SetExitCode): Command;
  /** Rewrites arguments for Commander where qemu-img has rules of its own. */
  arrange?(args: readonly string[]): string[];
}

export interface Verb {
  readonly summary: string;
  load(): Promise<LoadedVerb>;
}
