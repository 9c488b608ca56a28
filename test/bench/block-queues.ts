import type { Benchmark, Contestant } from './benchmark.ts';
import { benchFigures, qemuVmm, rawDisk, runPayload, tsvmVmm, type Vmm } from './payload-guest.ts';
import type { Workbench } from './workbench.ts';

const BENCH = 'blk-queues';
const DEPTHS = [1, 32];
const KIB = 1024;

interface QueuesWorkload {
  /** Words for the payload. */
  readonly words: string;
  /** Number of requests per queue. */
  readonly count: number;
  /** vCPUs, and queues that the disk offers. */
  readonly cpus: number;
  /** Queues that are used. */
  readonly queues: number;
}

/** Requests per second. */
function contestant(vmm: Vmm, workload: QueuesWorkload, workbench: Workbench): Contestant {
  const { words, count, cpus, queues } = workload;
  const { disk, tscKhz } = workbench;
  return {
    name: `${vmm.name}, ${queues} ${queues === 1 ? 'queue' : 'queues'}`,
    sample: async () => {
      const cmdline = `bench=${BENCH} count=${count} ${words}`;
      const run = await runPayload(vmm, { cmdline, disk: rawDisk(disk), cpus });
      const cycles = benchFigures(run, BENCH).get('cycles') ?? Number.NaN;
      return (count * queues) / (cycles / tscKhz / 1000);
    },
  };
}

function contestants(
  workbench: Workbench,
  workload: (queues: number) => Omit<QueuesWorkload, 'queues'>,
): Contestant[] {
  return [tsvmVmm(workbench), qemuVmm(workbench)].flatMap((vmm) =>
    [1, 2].map((queues) => contestant(vmm, { ...workload(queues), queues }, workbench)),
  );
}

/**
 * 4 KiB random reads per second: two vCPUs with a queue each, against one vCPU with one queue. The
 * vCPUs poll, so that one of them and its queue's worker already use two cores.
 */
function pollingBenchmark(workbench: Workbench, depth: number): Benchmark {
  return {
    name: `queues of a disk, depth ${depth}`,
    unit: 'req/s',
    contestants: contestants(workbench, (queues) => ({
      words: `cpus=${queues} qd=${depth}`,
      count: 20_000,
      cpus: queues,
    })),
    comparisons: [
      { of: 'tsvm, 2 queues', against: 'tsvm, 1 queue', as: 'ratio' },
      { of: 'qemu, 2 queues', against: 'qemu, 1 queue', as: 'ratio' },
      { of: 'tsvm, 2 queues', against: 'qemu, 2 queues', as: 'ratio', atLeast: 1 },
    ],
  };
}

/**
 * Reads at depth 32 by a vCPU that sleeps while its queues are served: with one queue, a core is idle
 * most of the time, with two both are busy.
 */
function sleepingBenchmark(workbench: Workbench, kib: number): Benchmark {
  return {
    name: `queues of a disk, ${kib} KiB reads, sleeping vCPU`,
    unit: 'req/s',
    contestants: contestants(workbench, (queues) => ({
      words: `queues=${queues} qd=32 bs=${kib * KIB} wait=interrupt`,
      count: 40_000 / queues,
      cpus: 2,
    })),
    comparisons: [
      { of: 'tsvm, 2 queues', against: 'tsvm, 1 queue', as: 'ratio' },
      { of: 'qemu, 2 queues', against: 'qemu, 1 queue', as: 'ratio' },
      { of: 'tsvm, 2 queues', against: 'qemu, 2 queues', as: 'ratio', atLeast: 1.2 },
    ],
  };
}

/** Random reads per second, of one queue and of two. */
export function blockQueuesBenchmarks(workbench: Workbench): Benchmark[] {
  return [
    ...DEPTHS.map((depth) => pollingBenchmark(workbench, depth)),
    ...[4, 64].map((kib) => sleepingBenchmark(workbench, kib)),
  ];
}
