import { readFileSync } from 'node:fs';
import type { Benchmark, Contestant } from './benchmark.ts';
import { GUEST_MEMORY_MIB, qemuVmm, rawDisk, tsvmVmm, type Vmm } from './payload-guest.ts';
import { runUntil } from './process.ts';
import type { Workbench } from './workbench.ts';

const KIB_PER_MIB = 1024;

/** RSS, or PSS, which divides each page by the number of processes that map it. */
type Measure = 'Rss' | 'Pss';

interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly residentKib: number;
}

/** The mappings of /proc/PID/smaps (proc(5)). */
function parseSmaps(text: string, measure: Measure): Mapping[] {
  const fields = `(?:[A-Z][^\\n]*\\n)*?${measure}: +(\\d+) kB$`;
  const pattern = new RegExp(`^([0-9a-f]+)-([0-9a-f]+) [^\\n]*\\n${fields}`, 'gm');
  return Array.from(text.matchAll(pattern), ([, start = '', end = '', kib]) => ({
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
    residentKib: Number(kib),
  }));
}

/** Resident KiB in the run of adjacent mappings that has the size of the guest's memory. */
function guestResidentKib(mappings: readonly Mapping[]): number {
  const guestBytes = GUEST_MEMORY_MIB * 2 ** 20;
  for (const [first, { start }] of mappings.entries()) {
    let residentKib = 0;
    let end = start;
    for (const mapping of mappings.slice(first)) {
      if (mapping.start !== end || mapping.end - start > guestBytes) break;
      end = mapping.end;
      residentKib += mapping.residentKib;
      if (end - start === guestBytes) return residentKib;
    }
  }
  throw new Error(`no mapping of ${GUEST_MEMORY_MIB} MiB is found`);
}

function overheadMib(pid: number, measure: Measure): number {
  const mappings = parseSmaps(readFileSync(`/proc/${pid}/smaps`, 'latin1'), measure);
  const totalKib = mappings.reduce((sum, { residentKib }) => sum + residentKib, 0);
  return (totalKib - guestResidentKib(mappings)) / KIB_PER_MIB;
}

function overhead(vmm: Vmm, disk: string, measure: Measure): Contestant {
  // The disk is used, so that its buffers are allocated.
  const guest = { cmdline: 'bench=blk-randread qd=32 count=5000', disk: rawDisk(disk), halt: true };
  return {
    name: vmm.name,
    sample: () => runUntil(vmm.command(guest), 'done ', (pid) => overheadMib(pid, measure)),
  };
}

/** Memory of the VMM, without the memory that the guest has touched. */
function memoryBenchmark(workbench: Workbench, measure: Measure): Omit<Benchmark, 'comparisons'> {
  return {
    name: `resident memory beyond the guest’s, ${measure.toUpperCase()}`,
    unit: 'MiB',
    contestants: [tsvmVmm(workbench), qemuVmm(workbench)].map((vmm) =>
      overhead(vmm, workbench.disk, measure),
    ),
  };
}

export function residentMemoryBenchmarks(workbench: Workbench): readonly Benchmark[] {
  const ratio = { of: 'tsvm', against: 'qemu', as: 'ratio' } as const;
  return [
    {
      ...memoryBenchmark(workbench, 'Rss'),
      comparisons: [{ of: 'tsvm', as: 'value', atMost: 60 }, ratio],
    },
    { ...memoryBenchmark(workbench, 'Pss'), comparisons: [ratio] },
  ];
}
