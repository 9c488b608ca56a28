import type { Benchmark, Comparison, Contestant } from './benchmark.ts';
import { BLOCK_WORKLOADS, type BlockWorkload, blockContestant, blockWords } from './block.ts';
import { DRIVERS, latencyContestant } from './block-latency.ts';
import { NET_WORKLOADS, netContestant } from './net.ts';
import { type PayloadGuest, rawDisk, tsvmVmm, type Vmm } from './payload-guest.ts';
import { cpuSeconds } from './process.ts';
import type { Workbench } from './workbench.ts';

/** What samples differ by on an idle machine. */
const NOISE = 0.05;
const COST: readonly Comparison[] = [
  { of: 'pci', against: 'mmio', as: 'ratio', atMost: 1 + NOISE },
];
const SPEED: readonly Comparison[] = [
  { of: 'pci', against: 'mmio', as: 'ratio', atLeast: 1 - NOISE },
];

/** A guest that sleeps where it has nothing to do, as Linux does: each completion is an interrupt. */
const SLEEPING = DRIVERS.sleeping;
const CPU_REQUESTS = 40_000;

function vmmWith(transport: 'pci' | 'mmio', workbench: Workbench): Vmm {
  const { command } = tsvmVmm(workbench);
  return {
    name: transport,
    command: (guest) => [
      ...command({ ...guest, cmdline: `${guest.cmdline} ${transport}` }),
      ...['--transport', transport],
    ],
  };
}

/** Microseconds of all threads' processor time for a request, without what start and end take. */
function cpuContestant(vmm: Vmm, words: string, { disk }: Workbench): Contestant {
  const seconds = (count: number) => {
    const guest: PayloadGuest = {
      cmdline: `bench=blk-randread count=${count} ${words}`,
      disk: rawDisk(disk),
    };
    return cpuSeconds(vmm.command(guest));
  };
  return {
    name: vmm.name,
    sample: async () => {
      const overhead = await seconds(1);
      return (((await seconds(CPU_REQUESTS)) - overhead) * 1e6) / (CPU_REQUESTS - 1);
    },
  };
}

/** PCI with MSI-X against MMIO with the payload: the transports themselves, with nothing of Linux. */
export function transportPayloadBenchmarks(workbench: Workbench): Benchmark[] {
  const vmms = [vmmWith('pci', workbench), vmmWith('mmio', workbench)];
  const small = (workload: BlockWorkload) => workload.blockBytes === 4096;
  return [
    ...BLOCK_WORKLOADS.flatMap((workload) =>
      Object.entries(DRIVERS).map(([driver, words]) => ({
        name: `transport: ${workload.name}, ${driver} vCPU`,
        unit: 'req/s',
        contestants: vmms.map((vmm) => blockContestant(vmm, workload, workbench, words)),
        comparisons: SPEED,
      })),
    ),
    ...BLOCK_WORKLOADS.filter(small).map((workload) => ({
      name: `transport: processor time, ${workload.name}, sleeping vCPU`,
      unit: 'us',
      contestants: vmms.map((vmm) =>
        cpuContestant(vmm, `${blockWords(workload)} ${SLEEPING}`, workbench),
      ),
      comparisons: COST,
    })),
    ...Object.entries(DRIVERS).map(([driver, words]) => ({
      name: `transport: kick to interrupt, median, ${driver} vCPU`,
      unit: 'us',
      contestants: vmms.map((vmm) => latencyContestant(vmm, words, 'median', workbench)),
      comparisons: COST,
    })),
    ...NET_WORKLOADS.map((workload) => ({
      name: `transport: net ${workload.direction}, ${workload.name}`,
      unit: 'frames/s',
      contestants: vmms.map((vmm) => netContestant(vmm, workload, workbench)),
      comparisons: SPEED,
    })),
  ];
}
