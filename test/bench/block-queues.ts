import type { Benchmark, Contestant } from './benchmark.ts';
import { benchFigures, qemuVmm, rawDisk, runPayload, tsvmVmm, type Vmm } from './payload-guest.ts';
import type { Workbench } from './workbench.ts';

const BENCH = 'blk-queues';
/** Number of requests per queue. */
const COUNT = 20_000;
const DEPTHS = [1, 32];

function contestant(vmm: Vmm, cpus: number, depth: number, workbench: Workbench): Contestant {
  const { disk, tscKhz } = workbench;
  return {
    name: `${vmm.name}, ${cpus} ${cpus === 1 ? 'queue' : 'queues'}`,
    sample: async () => {
      const run = await runPayload(vmm, {
        cmdline: `bench=${BENCH} cpus=${cpus} qd=${depth} count=${COUNT}`,
        ...{ disk: rawDisk(disk), cpus },
      });
      const cycles = benchFigures(run, BENCH).get('cycles') ?? Number.NaN;
      return (COUNT * cpus) / (cycles / tscKhz / 1000);
    },
  };
}

/** 4 KiB random reads per second: two vCPUs with a queue each, against one vCPU with one queue. */
export function blockQueuesBenchmarks(workbench: Workbench): Benchmark[] {
  const [tsvm, qemu] = [tsvmVmm(workbench), qemuVmm(workbench)];
  return DEPTHS.map((depth) => ({
    name: `queues of a disk, depth ${depth}`,
    unit: 'req/s',
    contestants: [tsvm, qemu].flatMap((vmm) =>
      [1, 2].map((cpus) => contestant(vmm, cpus, depth, workbench)),
    ),
    comparisons: [
      { of: 'tsvm, 2 queues', against: 'tsvm, 1 queue', as: 'ratio' },
      { of: 'qemu, 2 queues', against: 'qemu, 1 queue', as: 'ratio' },
      { of: 'tsvm, 2 queues', against: 'qemu, 2 queues', as: 'ratio', atLeast: 1 },
    ],
  }));
}
