import { existsSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Benchmark, Contestant } from './benchmark.ts';
import { fioContestant } from './fio.ts';
import {
  type GuestDisk,
  measure,
  qemuVmm,
  runPayload,
  tsvmVmm,
  type Vmm,
} from './payload-guest.ts';
import { runProcess } from './process.ts';
import { warmMemory } from './warm-memory.ts';
import type { Workbench } from './workbench.ts';

interface Workload {
  readonly name: string;
  readonly bench: string;
  readonly blockBytes: number;
  readonly depth: number;
  readonly driver: Driver;
  readonly count: number;
}

const KIB = 1024;
const GIB = 2 ** 30;

/** What a driver does until a request completes. Linux's sleeps; one that polls causes no exits. */
type Driver = 'polling' | 'sleeping';

function workload(
  pattern: 'rand' | 'seq',
  operation: 'read' | 'write',
  [kib, depth, driver, count]: readonly [number, number, Driver, number],
): Workload {
  const order = pattern === 'rand' ? 'random' : 'sequential';
  return {
    name: `${kib} KiB ${order} ${operation}s, queue depth ${depth}, ${driver}`,
    bench: `blk-${pattern}${operation}`,
    blockBytes: kib * KIB,
    depth,
    driver,
    count,
  };
}

/** About a second each, so that looking up extents for the first requests does not count. */
const READS: readonly Workload[] = [
  workload('rand', 'read', [4, 1, 'polling', 400_000]),
  workload('rand', 'read', [4, 1, 'sleeping', 10_000]),
  workload('rand', 'read', [4, 32, 'polling', 800_000]),
  workload('rand', 'read', [4, 32, 'sleeping', 250_000]),
  workload('seq', 'read', [128, 1, 'polling', 50_000]),
  workload('seq', 'read', [128, 1, 'sleeping', 8_000]),
  workload('seq', 'read', [128, 32, 'polling', 60_000]),
  workload('seq', 'read', [128, 32, 'sleeping', 50_000]),
];

/** Each writes to an empty image. There are so few requests that hardly two are in the same cluster. */
const FIRST_WRITES: readonly Workload[] = [
  workload('rand', 'write', [4, 1, 'polling', 4_000]),
  workload('rand', 'write', [4, 1, 'sleeping', 4_000]),
  workload('rand', 'write', [4, 32, 'polling', 4_000]),
  workload('rand', 'write', [4, 32, 'sleeping', 4_000]),
  workload('seq', 'write', [64, 1, 'polling', 4_000]),
  workload('seq', 'write', [64, 1, 'sleeping', 4_000]),
  workload('seq', 'write', [64, 32, 'polling', 8_000]),
  workload('seq', 'write', [64, 32, 'sleeping', 8_000]),
];
const FIRST_WRITES_MIB = 1024;
const EMPTY_BYTES = 64 * GIB;
const LARGE_BYTES = 100 * GIB;

async function run(vmm: Vmm, work: Workload, disk: GuestDisk, tscKhz: number): Promise<number> {
  const wait = work.driver === 'sleeping' ? ' wait=interrupt' : '';
  const words = `bs=${work.blockBytes} qd=${work.depth}${wait}`;
  const options = { words, count: work.count, disk };
  const { seconds, count } = await measure(vmm, work.bench, options, tscKhz);
  return count / seconds;
}

function allocatedPath({ root }: Workbench): string {
  return join(root, 'build', 'bench', 'disk.qcow2');
}

/** The disk of the other benchmarks, with all clusters allocated. */
async function allocatedImage(workbench: Workbench): Promise<string> {
  const path = allocatedPath(workbench);
  if (!existsSync(path)) {
    const partial = `${path}.partial`;
    const formats = ['-f', 'raw', '-O', 'qcow2'];
    await runProcess(['qemu-img', 'convert', ...formats, workbench.disk, partial]);
    renameSync(partial, path);
  }
  await runProcess(['cksum', path]);
  return path;
}

/** The raw disk is the image's own file, because the speed of a file depends on where its pages are. */
function readBenchmark(work: Workload, workbench: Workbench): Benchmark {
  const contestant = (name: string, vmm: Vmm, format: 'raw' | 'qcow2'): Contestant => ({
    name,
    sample: async () => {
      const path = await allocatedImage(workbench);
      return run(vmm, work, { path, format, readOnly: true }, workbench.tscKhz);
    },
  });
  return {
    name: `qcow2: ${work.name}`,
    unit: 'req/s',
    contestants: [
      contestant('tsvm', tsvmVmm(workbench), 'qcow2'),
      contestant('tsvm raw', tsvmVmm(workbench), 'raw'),
      contestant('qemu', qemuVmm(workbench), 'qcow2'),
      fioContestant(
        { ...work, pattern: work.bench === 'blk-seqread' ? 'read' : 'randread' },
        allocatedPath(workbench),
      ),
    ],
    comparisons: [
      { of: 'tsvm', against: 'tsvm raw', as: 'ratio', atLeast: 0.95 },
      { of: 'tsvm', against: 'qemu', as: 'ratio', atLeast: 1.2 },
      { of: 'tsvm', against: 'fio', as: 'ratio' },
      { of: 'qemu', against: 'fio', as: 'ratio' },
    ],
  };
}

async function emptyImage(path: string, bytes: number): Promise<GuestDisk> {
  rmSync(path, { force: true });
  await runProcess(['qemu-img', 'create', '-q', '-f', 'qcow2', path, `${bytes}`]);
  return { path, format: 'qcow2', readOnly: false };
}

function firstWriteBenchmark(work: Workload, workbench: Workbench): Benchmark {
  const path = join(workbench.root, 'build', 'bench', 'empty.qcow2');
  const contestant = (vmm: Vmm): Contestant => ({
    name: vmm.name,
    sample: async () => {
      await warmMemory(workbench, FIRST_WRITES_MIB);
      try {
        return await run(vmm, work, await emptyImage(path, EMPTY_BYTES), workbench.tscKhz);
      } finally {
        rmSync(path, { force: true });
      }
    },
  });
  return {
    name: `qcow2: first ${work.name}`,
    unit: 'req/s',
    contestants: [contestant(tsvmVmm(workbench)), contestant(qemuVmm(workbench))],
    comparisons: [{ of: 'tsvm', against: 'qemu', as: 'ratio', atLeast: 1 }],
  };
}

/** A payload that ends immediately, so that the time to open the image is what differs. */
function openBenchmark(workbench: Workbench): Benchmark {
  const vmm = tsvmVmm(workbench);
  const folder = join(workbench.root, 'build', 'bench');
  const sample = async (disk: GuestDisk) => {
    try {
      return (await runPayload(vmm, { cmdline: 'tests=cpuid', disk })).endMs;
    } finally {
      rmSync(disk.path, { force: true });
    }
  };
  return {
    name: 'qcow2: a run with a disk of 100 GiB',
    unit: 'ms',
    contestants: [
      {
        name: 'qcow2',
        sample: async () => sample(await emptyImage(join(folder, 'large.qcow2'), LARGE_BYTES)),
      },
      {
        name: 'raw',
        sample: () => {
          const path = join(folder, 'large.img');
          writeFileSync(path, '');
          truncateSync(path, LARGE_BYTES);
          return sample({ path, format: 'raw', readOnly: false });
        },
      },
    ],
    comparisons: [{ of: 'qcow2', against: 'raw', as: 'difference', atMost: 5 }],
  };
}

/** The overhead of a qcow2 image over a raw one for a guest, and the comparison with QEMU. */
export function qcow2Benchmarks(workbench: Workbench): Benchmark[] {
  return [
    ...READS.map((work) => readBenchmark(work, workbench)),
    ...FIRST_WRITES.map((work) => firstWriteBenchmark(work, workbench)),
    openBenchmark(workbench),
  ];
}
