import type { Contestant } from './benchmark.ts';
import { runProcess } from './process.ts';

export interface FioReads {
  /** fio's name for it. */
  readonly pattern: 'read' | 'randread';
  readonly blockBytes: number;
  readonly depth: number;
  readonly count: number;
}

interface FioReport {
  readonly jobs: readonly { readonly read: { readonly iops: number } }[];
}

/**
 * The same reads on the host, by io_uring through the page cache. A guest can read faster only if its
 * VMM merges requests.
 */
export function fioContestant(reads: FioReads, path: string): Contestant {
  return {
    name: 'fio',
    sample: async () => {
      const { stdout } = await runProcess([
        ...(['fio', '--name=read', '--output-format=json', '--ioengine=io_uring'] as const),
        ...[`--filename=${path}`, '--readonly', '--direct=0', '--invalidate=0'],
        ...[`--rw=${reads.pattern}`, `--bs=${reads.blockBytes}`, '--norandommap'],
        ...[`--iodepth=${reads.depth}`, `--io_size=${reads.blockBytes * reads.count}`],
      ]);
      const iops = (JSON.parse(stdout) as FioReport).jobs[0]?.read.iops;
      if (iops === undefined) throw new Error(`fio reported nothing: ${stdout}`);
      return iops;
    },
  };
}
