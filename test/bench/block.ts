import type { Benchmark, Contestant } from './benchmark.ts';
import { type FioReads, fioContestant } from './fio.ts';
import { measure, qemuVmm, rawDisk, tsvmVmm, type Vmm } from './payload-guest.ts';
import type { Workbench } from './workbench.ts';

export interface BlockWorkload extends FioReads {
  readonly name: string;
  readonly bench: string;
}

export const BLOCK_WORKLOADS: readonly BlockWorkload[] = [
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

/** Words of the payload's command line. */
export function blockWords({ blockBytes, depth }: BlockWorkload): string {
  return `bs=${blockBytes} qd=${depth}`;
}

/** Requests per second. */
export function blockContestant(
  vmm: Vmm,
  workload: BlockWorkload,
  { disk, tscKhz }: Workbench,
  words = '',
): Contestant {
  const options = {
    words: `${blockWords(workload)} ${words}`,
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
  return BLOCK_WORKLOADS.map((workload) => ({
    name: workload.name,
    unit: 'req/s',
    contestants: [
      ...vmms.map((vmm) => blockContestant(vmm, workload, workbench)),
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
