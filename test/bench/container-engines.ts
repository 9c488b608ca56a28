/** tsvm and podman with an image in stores of their own. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { busyboxMembers } from '../support/agent-guest.ts';
import { PODMAN_CONFIG } from '../support/podman-config.ts';
import { makeTar } from '../support/tar-maker.ts';
import type { Workbench } from './workbench.ts';

export const IMAGE = 'bench-box';
/** One of the two engines, with a store of its own that has the image. */
export class Engine {
  readonly name: string;
  readonly #command: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #archive: string;
  readonly #warmUp: ((engine: Engine) => void) | undefined;
  #ready = false;

  /** @param warmUp is run once, when the engine has the image */
  constructor(
    name: string,
    command: readonly string[],
    env: object,
    archive: string,
    warmUp?: (engine: Engine) => void,
  ) {
    this.name = name;
    this.#warmUp = warmUp;
    this.#command = command;
    this.#env = { ...process.env, ...env };
    this.#archive = archive;
  }

  prepare(): void {
    if (this.#ready) return;
    this.#ready = true;
    try {
      this.run('image', 'inspect', IMAGE);
    } catch {
      this.run('import', this.#archive, IMAGE);
    }
    this.#warmUp?.(this);
  }

  run(...words: readonly string[]): string {
    const [program = '', ...own] = [...this.#command, ...words];
    return execFileSync(program, own, {
      env: this.#env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Bytes of standard output that arrive by a pipe. */
  async outputBytes(...words: readonly string[]): Promise<number> {
    const [program = '', ...own] = [...this.#command, ...words];
    const child = spawn(program, own, { env: this.#env, stdio: ['ignore', 'pipe', 'ignore'] });
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await once(child, 'close');
    return bytes;
  }
}

export async function timeOf(work: () => unknown): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

export interface ContainerEngines {
  readonly ours: Engine;
  /** Without templates: each machine boots its kernel. */
  readonly cold: Engine;
  readonly podman: Engine;
  /** Data folder of tsvm's. */
  readonly data: string;
  readonly folder: string;
}

export function containerEngines({ root, tsvm }: Workbench): ContainerEngines {
  const folder = join(root, 'build/bench/containers');
  mkdirSync(folder, { recursive: true });
  const archive = join(folder, 'box.tar');
  if (!existsSync(archive)) writeFileSync(archive, makeTar(busyboxMembers()));
  const podmanConfig = join(folder, 'containers.conf');
  writeFileSync(podmanConfig, PODMAN_CONFIG);
  const data = join(folder, 'data');
  const env = {
    TSVM_DATA_FOLDER: data,
    TSVM_RUNTIME_FOLDER: join(folder, 'run'),
    XDG_CACHE_HOME: join(folder, 'cache'),
  };
  const ours = new Engine('tsvm', [tsvm], env, archive, awaitTemplate);
  const cold = new Engine('tsvm, cold', [tsvm], { ...env, TSVM_WARM_START: 'off' }, archive);
  const podman = new Engine(
    'podman',
    ['podman', '--root', join(folder, 'podman'), '--runroot', join(folder, 'podman-run')],
    { CONTAINERS_CONF: podmanConfig },
    archive,
  );
  return { ours, cold, podman, data, folder };
}

const TEMPLATE_PATIENCE_MS = 60_000;

/** The first run of a machine's shape leaves a template, some time after it has ended. */
function awaitTemplate(engine: Engine): void {
  const endMs = performance.now() + TEMPLATE_PATIENCE_MS;
  do {
    engine.run('run', '--rm', IMAGE, 'true');
    if (performance.now() > endMs) throw new Error('no template for warm starts is made');
  } while (/^Warm starts +0 /m.test(engine.run('system', 'df')));
}
