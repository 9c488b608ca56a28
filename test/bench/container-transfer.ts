/** Files into and out of containers, and published ports: tsvm and podman. */
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Benchmark, Contestant } from './benchmark.ts';
import { containerEngines, type Engine, IMAGE, timeOf } from './container-engines.ts';
import type { Workbench } from './workbench.ts';

const FILE_BYTES = 2 ** 30;
const STREAM_MIB = 64;
const MB = 1e6;
/** Sends zeroes to each client. */
const SERVER = [
  'nc',
  '-ll',
  '-p',
  '80',
  '-e',
  'dd',
  'if=/dev/zero',
  'bs=1M',
  `count=${STREAM_MIB}`,
];
const PORTS: Readonly<Record<string, number>> = { tsvm: 28_080, podman: 28_081 };

export function transferBenchmarks(bench: Workbench): Benchmark[] {
  const { folder, ours, podman } = containerEngines(bench);
  const file = join(folder, 'file');
  const each = (sample: (engine: Engine) => Promise<number>): Contestant[] =>
    [ours, podman].map((engine) => ({
      name: engine.name,
      sample: () => {
        engine.prepare();
        return sample(engine);
      },
    }));
  const withContainer = async (
    engine: Engine,
    flags: readonly string[],
    command: readonly string[],
    work: (id: string) => Promise<number>,
  ) => {
    const id = engine.run('run', '-d', ...flags, IMAGE, ...command).trim();
    try {
      return await work(id);
    } finally {
      engine.run('rm', '-f', id);
    }
  };
  const copy = (engine: Engine, direction: 'in' | 'out') =>
    withContainer(engine, [], ['sleep', '1000'], async (id) => {
      makeFile(file);
      const inMs = await timeOf(() => engine.run('cp', file, `${id}:/file`));
      if (direction === 'in') return FILE_BYTES / MB / (inMs / 1000);
      const copied = `${file}.${engine.name}`;
      try {
        const ms = await timeOf(() => engine.run('cp', `${id}:/file`, copied));
        if (statSync(copied).size !== FILE_BYTES) throw new Error('the file is not whole');
        return FILE_BYTES / MB / (ms / 1000);
      } finally {
        rmSync(copied, { force: true });
      }
    });
  const atLeastHalf = [{ of: 'tsvm', against: 'podman', as: 'ratio', atLeast: 0.5 }] as const;
  return [
    {
      name: 'cp of 1 GiB into a container',
      unit: 'MB/s',
      slow: true,
      contestants: each((engine) => copy(engine, 'in')),
      comparisons: atLeastHalf,
    },
    {
      name: 'cp of 1 GiB out of a container',
      unit: 'MB/s',
      slow: true,
      contestants: each((engine) => copy(engine, 'out')),
      comparisons: atLeastHalf,
    },
    {
      name: 'a published port, from the container to the host (podman: slirp4netns)',
      unit: 'MB/s',
      slow: true,
      contestants: each((engine) => {
        const port = PORTS[engine.name] ?? 0;
        const network = engine.name === 'podman' ? ['--network', 'slirp4netns'] : [];
        const flags = [...network, '-p', `127.0.0.1:${port}:80`];
        return withContainer(engine, flags, SERVER, () => streamSpeed(port));
      }),
      comparisons: [{ of: 'tsvm', against: 'podman', as: 'ratio', atLeast: 0.8 }],
    },
  ];
}

function makeFile(path: string): void {
  if (existsSync(path) && statSync(path).size === FILE_BYTES) return;
  const words = ['if=/dev/urandom', `of=${path}`, 'bs=1M', `count=${FILE_BYTES / 2 ** 20}`];
  execFileSync('dd', words, { stdio: 'ignore' });
}

/** Of a whole stream, in MB/s. The server may not listen yet. */
async function streamSpeed(port: number): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    let bytes = 0;
    const ms = await timeOf(async () => {
      bytes = await receivedBytes(port);
    });
    if (bytes === STREAM_MIB * 2 ** 20) return bytes / MB / (ms / 1000);
    if (bytes > 0) throw new Error(`${bytes} bytes of ${STREAM_MIB} MiB arrived`);
    await sleep(100);
  }
  throw new Error('nobody listens on the published port');
}

function receivedBytes(port: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let bytes = 0;
  connect({ host: '127.0.0.1', port })
    .on('data', (chunk) => {
      bytes += chunk.length;
    })
    .on('error', () => {})
    .once('close', () => resolve(bytes));
  return promise;
}
