import type { Benchmark, Contestant } from './benchmark.ts';
import { benchFigures, qemuVmm, rawDisk, runPayload, tsvmVmm, type Vmm } from './payload-guest.ts';
import type { Workbench } from './workbench.ts';

const BENCH = 'blk-latency';
const COUNT = 5000;

/** What the vCPU does meanwhile: HLT, like an idle Linux, or something else. */
export const DRIVERS = { sleeping: 'wait=interrupt', busy: '' } as const;
const FIGURES = { median: 'median', '99th percentile': 'p99' } as const;

/** Microseconds. `figure` is `median` or `p99`. */
export function latencyContestant(
  vmm: Vmm,
  words: string,
  figure: string,
  workbench: Workbench,
): Contestant {
  const { disk, tscKhz } = workbench;
  return {
    name: vmm.name,
    sample: async () => {
      const run = await runPayload(vmm, {
        cmdline: `bench=${BENCH} count=${COUNT} ${words}`,
        disk: rawDisk(disk),
      });
      return ((benchFigures(run, BENCH).get(figure) ?? Number.NaN) * 1000) / tscKhz;
    },
  };
}

/**
 * Microseconds from a kick to the completion interrupt of a request without I/O, as the guest measures
 * them by the TSC.
 */
export function blockLatencyBenchmarks(workbench: Workbench): Benchmark[] {
  const vmms = [tsvmVmm(workbench), qemuVmm(workbench)];
  return Object.entries(DRIVERS).flatMap(([driver, words]) =>
    Object.entries(FIGURES).map(([name, figure]) => ({
      name: `kick to interrupt: ${name}, ${driver} vCPU`,
      unit: 'us',
      contestants: vmms.map((vmm) => latencyContestant(vmm, words, figure, workbench)),
      comparisons: [{ of: 'tsvm', against: 'qemu', as: 'ratio' }],
    })),
  );
}
