import { commandLine } from '../../vmm/machine/command-line.ts';
import { resolveConfig } from '../../vmm/machine/config.ts';
import { hostProfile } from '../../vmm/machine/host-profile.ts';
import { chooseKernelMode } from '../../vmm/machine/kernel-mode.ts';
import { once } from '../../vmm/util/once.ts';
import { defaultGuest, prebuiltKernel } from '../support/linux-guest.ts';
import type { Benchmark, Contestant } from './benchmark.ts';
import { type Command, runUntil } from './process.ts';
import type { Workbench } from './workbench.ts';

const MEMORY_MIB = 256;

/** The end of the shell's prompt in the default guest. */
const PROMPT = 'tsvm:~# ';

/**
 * With ACPI, which the kernel needs to find virtio-mmio devices, QEMU's microvm has nothing that a kernel
 * can measure its TSC by, and this one waits forever. QEMU's translator counts nanoseconds.
 */
const QEMU_TSC = 'tsc_early_khz=1000000';

/** Debian's cloud kernel, its modules as the initrd, and the root disk of the default guest. */
interface Guest {
  readonly kernel: string;
  readonly initrd: string;
  readonly disk: string;
  readonly cmdline: string;
}

async function makeGuest(): Promise<Guest> {
  const { kernelPath, modulesPath } = await prebuiltKernel();
  if (modulesPath === undefined) throw new Error('the prebuilt kernel has no modules');
  const { rootDiskPath } = defaultGuest();
  const disks = [{ path: rootDiskPath, readOnly: true }];
  const config = resolveConfig({ kernelPath, modulesPath, disks });
  const kernelMode = chooseKernelMode(hostProfile(config.devicePath), 'auto');
  const cmdline = commandLine(config, kernelMode, []);
  return { kernel: kernelPath, initrd: modulesPath, disk: rootDiskPath, cmdline };
}

/** From exec to the shell of the default guest, as it is before a kernel has been compiled. */
export function prebuiltBootBenchmark(workbench: Workbench): Benchmark {
  const guest = once(makeGuest);
  const shell = (name: string, command: (guest: Guest) => Command): Contestant => ({
    name,
    sample: async () => {
      const words = command(await guest());
      const startMs = performance.now();
      return runUntil(words, PROMPT, () => (performance.now() - startMs) / 1000);
    },
  });
  return {
    name: 'exec to the shell of the default guest on the prebuilt kernel',
    unit: 's',
    slow: true,
    contestants: [
      shell('tsvm', ({ kernel, initrd, disk, cmdline }) => [
        ...([workbench.tsvm, 'boot', '--kernel', kernel, '--initrd', initrd] as const),
        ...['--disk', `${disk},ro,format=raw`, '--cmdline', cmdline],
        ...['--memory', `${MEMORY_MIB}M`, '--console', 'stdio'],
      ]),
      shell('qemu microvm (TCG)', ({ kernel, initrd, disk, cmdline }) => [
        ...(['qemu-system-x86_64', '-accel', 'tcg', '-machine', 'microvm', '-cpu', 'max'] as const),
        ...['-m', `${MEMORY_MIB}`, '-no-reboot', '-nodefaults', '-no-user-config'],
        ...['-display', 'none', '-serial', 'stdio', '-global', 'virtio-mmio.force-legacy=false'],
        ...['-kernel', kernel, '-initrd', initrd, '-append', `${cmdline} ${QEMU_TSC}`],
        ...['-drive', `id=d,file=${disk},format=raw,if=none,readonly=on`],
        ...['-device', 'virtio-blk-device,drive=d'],
      ]),
    ],
    comparisons: [{ of: 'tsvm', against: 'qemu microvm (TCG)', as: 'ratio', atMost: 0.5 }],
  };
}
