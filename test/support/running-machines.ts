/** Machines in the background, with the folders of the test. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { PAYLOAD, type RunOptions, type RunResult, runTsvm } from './tsvm-process.ts';

export interface RunningMachines {
  /** Folder of the running machines. */
  readonly folder: string;
  readonly logFolder: string;
  /** Environment variables for both. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs `tsvm ARGS...`. */
  run(args: string, options?: RunOptions): Promise<RunResult>;
  /** Boots the payload in the background. */
  bootPayload(name: string, words: string, args?: string): Promise<RunResult>;
}

/** Machines that still run when the test ends are killed. */
export function runningMachinesOf(context: TestContext): RunningMachines {
  // Not {@link temporaryFolder}, whose hook would remove the folder before the machines are found.
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  const logFolder = join(folder, 'log');
  const env = { TSVM_RUNTIME_FOLDER: folder, TSVM_LOG_FOLDER: logFolder };
  const run = (args: string, options: RunOptions = {}) =>
    runTsvm(args.split(' '), { ...options, env: { ...env, ...options.env } });
  context.after(async () => {
    const { stdout } = await run('list --quiet');
    for (const name of stdout.split('\n').filter((line) => line !== '')) await run(`kill ${name}`);
    rmSync(folder, { recursive: true });
  });
  return {
    folder: join(folder, 'machines'),
    logFolder,
    env,
    run,
    bootPayload: (name, words, args = '') =>
      runTsvm(
        [
          ...`boot --detach --name ${name} --kernel ${PAYLOAD} --acpi off`.split(' '),
          ...args.split(' ').filter((word) => word !== ''),
          '--append',
          words,
        ],
        { env },
      ),
  };
}
