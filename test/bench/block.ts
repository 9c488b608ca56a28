import type { Benchmark, Contestant } from './benchmark.ts';
import { measure, qemuVmm, rawDisk, tsvmVmm, type Vmm } from './payload-guest.ts';
import { runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

interface Workload {
  readonly name: string;
  readonly bench: string;
  /** As fio calls it. */
  readonly fioPattern: string;
  readonly blockBytes: number;
  readonly depth: number;
  readonly count: number;
}

const WORKLOADS: readonly Workload[] = [
  {
    name: '4 KiB random reads, queue depth 1',
    bench: 'blk-randread',
    fioPattern: 'randread',
    blockBytes: 4096,
    depth: 1,
    count: 10_000,
  },
  {
    name: '4 KiB random reads, queue depth 32',
    bench: 'blk-randread',
    fioPattern: 'randread',
    blockBytes: 4096,
    depth: 32,
    count: 40_000,
  },
  {
    name: '128 KiB sequential reads, queue depth 4',
    bench: 'blk-seqread',
    fioPattern: 'read',
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

interface FioReport {
  readonly jobs: readonly { readonly read: { readonly iops: number } }[];
}

/** The same reads on the host: by io_uring, through the page cache. */
function fioContestant(workload: Workload, { disk }: Workbench): Contestant {
  return {
    name: 'fio',
    sample: async () => {
      const { stdout } = await runProcess([
        ...(['fio', '--name=read', '--output-format=json', '--ioengine=io_uring'] as const),
        ...[`--filename=${disk}`, '--readonly', '--direct=0', '--invalidate=0'],
        ...[`--rw=${workload.fioPattern}`, `--bs=${workload.blockBytes}`, '--norandommap'],
        ...[`--iodepth=${workload.depth}`, `--io_size=${workload.blockBytes * workload.count}`],
      ]);
      const iops = (JSON.parse(stdout) as FioReport).jobs[0]?.read.iops;
      if (iops === undefined) throw new Error(`fio reported nothing: ${stdout}`);
      return iops;
    },
  };
}

/** Requests a second of the payload, against QEMU and against the host itself. */
export function blockBenchmarks(workbench: Workbench): Benchmark[] {
  const vmms = [tsvmVmm(workbench), qemuVmm(workbench), qemuVmm(workbench, 'none')];
  return WORKLOADS.map((workload) => ({
    name: workload.name,
    unit: 'req/s',
    contestants: [
      ...vmms.map((vmm) => guestContestant(vmm, workload, workbench)),
      fioContestant(workload, workbench),
    ],
    comparisons: [
      { of: 'tsvm', against: 'qemu', as: 'ratio', atLeast: 1 },
      { of: 'tsvm', against: 'qemu cache=none', as: 'ratio', atLeast: 1 },
      { of: 'tsvm', against: 'fio', as: 'ratio' },
      { of: 'qemu', against: 'fio', as: 'ratio' },
    ],
  }));
}
