import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandLine } from '../../vmm/machine/command-line.ts';
import { resolveConfig } from '../../vmm/machine/config.ts';
import { hostProfile } from '../../vmm/machine/host-profile.ts';
import { once } from '../../vmm/util/once.ts';
import { initrdOf } from '../support/initrd.ts';
import { tunedKernel } from '../support/linux-guest.ts';
import type { Benchmark, Contestant } from './benchmark.ts';
import { type Command, runProcess, runUntil } from './process.ts';
import type { Workbench } from './workbench.ts';

const MEMORY_MIB = 128;

/** `first-program.S` prints it, and no kernel does. */
const BELL = '\x07';

/** The default guest's kernel, with a file system that contains one program. */
interface BootFiles {
  readonly bzImage: string;
  readonly vmlinux: string;
  readonly initrd: string;
  readonly cmdline: string;
  readonly minimalVmm: string;
}

async function makeBootFiles({ root }: Workbench): Promise<BootFiles> {
  const guest = tunedKernel();
  if ('missing' in guest) throw new Error(guest.missing);
  const source = (name: string) => join(root, 'test', 'bench', name);
  const product = (name: string) => join(root, 'build', 'bench', name);
  const program = product('first-program');
  const initrd = product('first-program.cpio');
  const minimalVmm = product('minimal-vmm');
  await runProcess(['cc', '-nostdlib', '-static', '-o', program, source('first-program.S')]);
  writeFileSync(initrd, initrdOf(program));
  await runProcess([
    ...([
      'cc',
      '-std=gnu11',
      '-D_GNU_SOURCE',
      '-O2',
      '-Wall',
      '-Wextra',
      '-o',
      minimalVmm,
    ] as const),
    ...[source('minimal-vmm.c'), join(root, 'kvm-addon', 'build', 'libtsvm_core.a'), '-lpthread'],
  ]);
  const config = resolveConfig({
    kernelPath: guest.vmlinuxPath,
    initrdPath: initrd,
    memoryBytes: MEMORY_MIB * 2 ** 20,
    acpi: false,
  });
  return {
    bzImage: guest.kernelPath,
    vmlinux: guest.vmlinuxPath,
    initrd,
    // The other VMMs let KVM run the kernel, which on kvm-pvm means its emulator.
    cmdline: commandLine(
      config,
      hostProfile(config.devicePath).emulatesKernelMode ? 'emulator' : 'hardware',
      [],
    ),
    minimalVmm,
  };
}

/** From exec to the first instructions of the first program, with the default guest's kernel. */
export function kernelBootBenchmark(workbench: Workbench): Benchmark {
  const files = once(() => makeBootFiles(workbench));
  const boot = (name: string, command: (files: BootFiles) => Command): Contestant => ({
    name,
    sample: async () => {
      const guest = command(await files());
      const startMs = performance.now();
      return runUntil(guest, BELL, () => (performance.now() - startMs) / 1000);
    },
  });
  return {
    name: 'exec to the first program of the default kernel',
    unit: 's',
    slow: true,
    contestants: [
      boot('tsvm', ({ bzImage, initrd, cmdline }) => [
        ...([workbench.tsvm, 'boot', '--kernel', bzImage, '--initrd', initrd] as const),
        ...['--cmdline', cmdline, '--acpi', 'off', '--memory', `${MEMORY_MIB}M`],
        ...['--console', 'stdio'],
      ]),
      boot('minimal VMM', ({ minimalVmm, vmlinux, initrd, cmdline }) => [
        ...([minimalVmm, vmlinux, initrd, `${MEMORY_MIB}`, cmdline] as const),
      ]),
    ],
    comparisons: [{ of: 'tsvm', against: 'minimal VMM', as: 'ratio', atMost: 1.05 }],
  };
}
