import { readFileSync } from 'node:fs';
import type { Benchmark, Contestant } from './benchmark.ts';
import { GUEST_MEMORY_MIB, qemuVmm, rawDisk, tsvmVmm, type Vmm } from './payload-guest.ts';
import { runUntil } from './process.ts';
import type { Workbench } from './workbench.ts';

const KIB_PER_MIB = 1024;

interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly residentKib: number;
}

/** The mappings of /proc/PID/smaps (proc(5)). */
function parseSmaps(text: string): Mapping[] {
  const pattern = /^([0-9a-f]+)-([0-9a-f]+) [^\n]*\n(?:[A-Z][^\n]*\n)*?Rss: +(\d+) kB$/gm;
  return Array.from(text.matchAll(pattern), ([, start = '', end = '', rss]) => ({
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
    residentKib: Number(rss),
  }));
}

/** KiB resident in the run of adjacent mappings that is as large as the guest's memory. */
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

function overheadMib(pid: number): number {
  const mappings = parseSmaps(readFileSync(`/proc/${pid}/smaps`, 'latin1'));
  const totalKib = mappings.reduce((sum, { residentKib }) => sum + residentKib, 0);
  return (totalKib - guestResidentKib(mappings)) / KIB_PER_MIB;
}

function overhead(vmm: Vmm, disk: string): Contestant {
  // The disk is used, so that its buffers are there.
  const guest = { cmdline: 'bench=blk-randread qd=32 count=5000', disk: rawDisk(disk), halt: true };
  return {
    name: vmm.name,
    sample: () => runUntil(vmm.command(guest), 'done ', overheadMib),
  };
}

/** Resident memory of the VMM beyond what the guest touched. */
export function residentMemoryBenchmark(workbench: Workbench): Benchmark {
  return {
    name: 'resident memory beyond the guest’s',
    unit: 'MiB',
    contestants: [tsvmVmm(workbench), qemuVmm(workbench)].map((vmm) =>
      overhead(vmm, workbench.disk),
    ),
    comparisons: [
      { of: 'tsvm', as: 'value', atMost: 60 },
      { of: 'tsvm', against: 'qemu', as: 'ratio' },
    ],
  };
}
