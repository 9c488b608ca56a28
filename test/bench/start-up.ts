import type { Benchmark, Contestant } from './benchmark.ts';
import { bareVmm, qemuVmm, runPayload, tsvmVmm, type Vmm } from './payload-guest.ts';
import { runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

function firstByte(vmm: Vmm): Contestant {
  return {
    name: vmm.name,
    sample: async () => (await runPayload(vmm, { cmdline: '' })).firstByteMs ?? Number.NaN,
  };
}

/** From exec to the first byte that the payload prints. */
export function startUpBenchmark(workbench: Workbench): Benchmark {
  const node: Contestant = {
    name: 'node -e 0',
    sample: async () => (await runProcess([workbench.node, '-e', '0'])).endMs,
  };
  const vmms = [tsvmVmm(workbench), qemuVmm(workbench), bareVmm(workbench)];
  return {
    name: 'exec to the first byte from the payload',
    unit: 'ms',
    contestants: [...vmms.map(firstByte), node],
    comparisons: [
      { of: 'tsvm', against: 'qemu', as: 'ratio', atMost: 1 },
      { of: 'tsvm', against: 'node -e 0', as: 'difference', atMost: 30 },
    ],
  };
}
