import type { Benchmark, Contestant } from './benchmark.ts';
import { type FioReads, fioContestant } from './fio.ts';
import { measure, qemuVmm, rawDisk, tsvmVmm, type Vmm } from './payload-guest.ts';
import type { Workbench } from './workbench.ts';

interface Workload extends FioReads {
  readonly name: string;
  readonly bench: string;
}

const WORKLOADS: readonly Workload[] = [
  {
    name: '4 KiB random reads, queue depth 1',
    bench: 'blk-randread',
    pattern: 'randread',
    blockBytes: 4096,
    depth: 1,
    count: 10_000,
  },
  {
    name: '4 KiB random reads, queue depth 32',
    bench: 'blk-randread',
    pattern: 'randread',
    blockBytes: 4096,
    depth: 32,
    count: 40_000,
  },
  {
    name: '128 KiB sequential reads, queue depth 4',
    bench: 'blk-seqread',
    pattern: 'read',
    blockBytes: 131_072,
    depth: 4,
    count: 8_000,
  },
];

function guestContestant(vmm: Vmm, workload: Workload, { disk, tscKhz }: Workbench): Contestant {
  const options = {
    words: `bs=${workload.blockBytes} qd=${workload.depth}`,
    count: workload.count,
    disk: rawDisk(disk),
  };
  return {
    name: vmm.name,
    sample: async () => {
      const { seconds, count } = await measure(vmm, workload.bench, options, tscKhz);
      return count / seconds;
    },
  };
}

/** Requests per second of the payload, against QEMU and the host itself. */
export function blockBenchmarks(workbench: Workbench): Benchmark[] {
  const vmms = [tsvmVmm(workbench), qemuVmm(workbench), qemuVmm(workbench, 'none')];
  return WORKLOADS.map((workload) => ({
    name: workload.name,
    unit: 'req/s',
    contestants: [
      ...vmms.map((vmm) => guestContestant(vmm, workload, workbench)),
      fioContestant(workload, workbench.disk),
    ],
    comparisons: [
      { of: 'tsvm', against: 'qemu', as: 'ratio', atLeast: 1 },
      { of: 'tsvm', against: 'qemu cache=none', as: 'ratio', atLeast: 1 },
      { of: 'tsvm', against: 'fio', as: 'ratio' },
      { of: 'qemu', against: 'fio', as: 'ratio' },
    ],
  }));
}
