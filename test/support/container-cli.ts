/** Runs `tsvm` with images and settings of the test. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type RunOptions, type RunResult, runTsvm, temporaryFolder } from './tsvm-process.ts';

export interface ContainerCli {
  readonly folder: string;
  /** The store's folder. */
  readonly images: string;
  readonly env: Readonly<Record<string, string>>;
  /** Runs `tsvm ARGS...`. */
  run(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** Like `run`, but a failure fails the test. @returns standard output */
  ok(args: readonly string[], options?: RunOptions): Promise<string>;
  configureRegistries(config: object): void;
}

export function containerCli(test: TestContext): ContainerCli {
  const folder = temporaryFolder(test);
  const env = {
    TSVM_DATA_FOLDER: join(folder, 'data'),
    XDG_CONFIG_HOME: join(folder, 'config'),
    DOCKER_CONFIG: join(folder, 'docker'),
    TZ: 'UTC',
  };
  const run = (args: readonly string[], options: RunOptions = {}) =>
    runTsvm(args, { ...options, env: { ...env, ...options.env } });
  return {
    folder,
    images: join(folder, 'data/images'),
    env,
    run,
    ok: async (args, options) => {
      const { code, stderr, stdout } = await run(args, options);
      if (code === 0) return stdout;
      throw new Error(`tsvm ${args.join(' ')}: exit code ${code}\n${stdout}\n${stderr}`);
    },
    configureRegistries: (config) => {
      mkdirSync(join(folder, 'config/tsvm'), { recursive: true });
      writeFileSync(join(folder, 'config/tsvm/registries.json'), JSON.stringify(config));
    },
  };
}
