import type { Command } from 'commander';
import { print, printMessage } from '../standard-streams.ts';

/** A verb of Docker's. */
export interface Verb {
  /** As Docker shows it, without the program's name: `rmi [OPTIONS] IMAGE [IMAGE...]`. */
  readonly usage: string;
  /** Additional text for `--help`. */
  readonly help: string;
  readonly argumentsMin: number;
  readonly argumentsMax: number;
  /** What follows the first argument belongs to it, even if it looks like an option. */
  readonly optionsFirst?: boolean;
  addOptions(command: Command): Command;
  /** @returns the exit code */
  run(args: readonly string[], options: Readonly<Record<string, unknown>>): Promise<number>;
}

/** An invalid command line, with Docker's message and exit code. */
export class UsageError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = 'UsageError';
    this.exitCode = exitCode;
  }
}

/** Commander collects an option's values. */
export function collect(value: string, values: readonly string[] = []): readonly string[] {
  return [...values, value];
}

const warned = new Set<string>();

/** Warns as Docker's client does, of the same only once. */
export function warnUser(message: string): void {
  if (warned.has(message)) return;
  warned.add(message);
  printMessage(`WARNING: ${message}\n`);
}

export function writeLine(line: string): void {
  print(`${line}\n`);
}
