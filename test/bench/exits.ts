import type { Benchmark, Comparison } from './benchmark.ts';
import { bareVmm, measure, qemuVmm, rawDisk, tsvmVmm, type Vmm } from './payload-guest.ts';
import type { Workbench } from './workbench.ts';

/** A write to it is a boot time stamp, which the vCPU thread handles. */
const BOOT_STAMP_PORT = '0x80';
/** A read of it returns the time, which TypeScript handles. */
const CMOS_DATA_PORT = '0x71';
const EXITS = 20_000;

interface ExitKind {
  readonly name: string;
  readonly bench: string;
  readonly words: string;
  readonly disk: boolean;
  readonly vmms: readonly Vmm[];
  readonly comparison: Comparison;
}

function exitBenchmark(kind: ExitKind, { tscKhz, disk }: Workbench): Benchmark {
  const options = { words: kind.words, count: EXITS, ...(kind.disk && { disk: rawDisk(disk) }) };
  return {
    name: kind.name,
    unit: 'ns',
    contestants: kind.vmms.map((vmm) => ({
      name: vmm.name,
      sample: async () => {
        const { seconds, count } = await measure(vmm, kind.bench, options, tscKhz);
        return (seconds / count) * 1e9;
      },
    })),
    comparisons: [kind.comparison],
  };
}

/** The cost of an exit for the guest, by who handles it. */
export function exitBenchmarks(workbench: Workbench): Benchmark[] {
  const [tsvm, qemu, bare] = [tsvmVmm(workbench), qemuVmm(workbench), bareVmm(workbench)];
  const kinds: ExitKind[] = [
    {
      name: 'port write handled in C',
      bench: 'pio-out',
      words: `port=${BOOT_STAMP_PORT}`,
      disk: false,
      vmms: [tsvm, qemu, bare],
      comparison: { of: 'tsvm', against: bare.name, as: 'ratio', atMost: 1.1 },
    },
    {
      name: 'port read handled in TypeScript',
      bench: 'pio-in',
      words: `port=${CMOS_DATA_PORT}`,
      disk: false,
      vmms: [tsvm, bare],
      comparison: { of: 'tsvm', against: bare.name, as: 'ratio' },
    },
    {
      name: 'read of a virtio-mmio register',
      bench: 'mmio',
      words: '',
      disk: true,
      vmms: [tsvm, qemu],
      comparison: { of: 'tsvm', against: 'qemu', as: 'ratio' },
    },
    {
      name: 'virtqueue notification',
      bench: 'kick',
      words: '',
      disk: true,
      vmms: [tsvm, qemu],
      comparison: { of: 'tsvm', against: 'qemu', as: 'ratio' },
    },
  ];
  return kinds.map((kind) => exitBenchmark(kind, workbench));
}
