import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from '../../vmm/util/once.ts';
import { compileGuestProgram, initrdOf } from '../support/initrd.ts';
import { tunedKernel } from '../support/linux-guest.ts';
import { stockKernel } from '../support/stock-kernels.ts';
import type { Benchmark, Contestant } from './benchmark.ts';
import { type Command, runNoting, runUntil } from './process.ts';
import type { Workbench } from './workbench.ts';

const MEMORY_MIB = 128;
/** `linux-speed.c` prints it first, and no kernel does. */
const BELL = '\x07';

/** Seconds by the names in `linux-speed.c`, and `boot`: from exec to the first program. */
type Figures = ReadonlyMap<string, number>;

export interface KernelFiles {
  readonly kernel: string;
  readonly initrd: string;
}

export interface LinuxFiles extends KernelFiles {
  readonly program: string;
}

export function makeLinuxFiles({ root }: Workbench): LinuxFiles {
  const guest = tunedKernel();
  if ('missing' in guest) throw new Error(guest.missing);
  const program = join(root, 'build', 'bench', 'linux-speed');
  compileGuestProgram(program, [join(root, 'test', 'bench', 'linux-speed.c')]);
  const initrd = `${program}.cpio`;
  writeFileSync(initrd, initrdOf(program));
  return { program, kernel: guest.kernelPath, initrd };
}

export function tsvmCommand(
  workbench: Workbench,
  { kernel, initrd }: KernelFiles,
  cpus: number,
  memoryMiB = MEMORY_MIB,
): Command {
  return [
    ...([workbench.tsvm, 'boot', '--kernel', kernel, '--initrd', initrd] as const),
    ...['--memory', `${memoryMiB}M`, '--cpus', `${cpus}`, '--console', 'stdio'],
    ...['--disk', `${workbench.disk},ro,format=raw`],
  ];
}

/** QEMU's translator, which is the alternative on a host without hardware virtualization. */
export function tcgCommand(
  { disk }: Workbench,
  { kernel, initrd }: KernelFiles,
  cpus: number,
  memoryMiB = MEMORY_MIB,
): Command {
  const words =
    'console=ttyS0 panic=-1 no_timer_check tsc=reliable 8250.nr_uarts=1 reboot=t speed_resets=1';
  return [
    ...(['qemu-system-x86_64', '-accel', 'tcg', '-machine', 'microvm,acpi=off'] as const),
    ...['-cpu', 'max', '-m', `${memoryMiB}`, '-smp', `${cpus}`, '-no-reboot', '-nodefaults'],
    ...['-no-user-config', '-display', 'none', '-serial', 'stdio', '-kernel', kernel],
    ...['-initrd', initrd, '-append', words, '-global', 'virtio-mmio.force-legacy=false'],
    ...['-drive', `id=d,file=${disk},format=raw,if=none,readonly=on`],
    ...['-device', 'virtio-blk-device,drive=d'],
  ];
}

async function runGuest(command: Command): Promise<Figures> {
  const { notedMs, stdout } = await runNoting(command, BELL);
  const figures = new Map<string, number>([['boot', notedMs / 1000]]);
  for (const [, name, value] of stdout.matchAll(/^speed ([a-z0-9-]+) ([0-9.]+)\r?$/gm)) {
    if (name !== undefined) figures.set(name, Number(value));
  }
  if (!/^speed done/m.test(stdout)) {
    const [failure] = /^speed failed.*$/m.exec(stdout) ?? [stdout.slice(-200)];
    throw new Error(`the guest did not come to its end: ${failure}`);
  }
  return figures;
}

/** Debian's cloud kernel, with only this program as its initrd. */
export function cloudFiles(files: () => LinuxFiles): LinuxFiles {
  const kernel = stockKernel('6.1', 'cloud');
  if ('missing' in kernel) throw new Error(kernel.missing);
  return { ...files(), kernel: kernel.kernelPath };
}

/** Seconds from exec to the output of `mark`, which the first program prints. */
export async function timeBoot(command: Command, mark = BELL): Promise<number> {
  const startMs = performance.now();
  return runUntil(command, mark, () => (performance.now() - startMs) / 1000);
}

/** A VMM whose boots serve all benchmarks: the n-th sample of each belongs to the n-th boot. */
export class Guest {
  readonly name: string;
  readonly #command: () => Command;
  readonly #boots: Promise<Figures>[] = [];

  constructor(name: string, command: () => Command) {
    this.name = name;
    this.#command = command;
  }

  contestant(figure: string, scale: number): Contestant {
    let samples = 0;
    return {
      name: this.name,
      sample: async () => {
        const index = samples++;
        this.#boots[index] ??= runGuest(this.#command());
        const value = (await this.#boots[index]).get(figure);
        if (value === undefined) throw new Error(`no figure for ${figure}`);
        return value * scale;
      },
    };
  }
}

/** What is measured, its unit, and the maximum ratio to TCG's time. */
const MEASURES = [
  { figure: 'boot', name: 'exec to the first program', unit: 's', scale: 1, atMost: 0.2 },
  { figure: 'getppid', name: 'getppid', unit: 'us', scale: 1e6, atMost: 1 },
  { figure: 'fork', name: 'fork, exit, wait', unit: 'ms', scale: 1e3, atMost: 0.7 },
  { figure: 'exec', name: 'fork, exec of a static program', unit: 'ms', scale: 1e3, atMost: 0.6 },
  { figure: 'fault-anonymous', name: 'page fault, new', unit: 'us', scale: 1e6, atMost: 0.4 },
  { figure: 'fault-copy', name: 'page fault, copy on write', unit: 'us', scale: 1e6, atMost: 0.4 },
  { figure: 'pipe-64k', name: '64 KiB through a pipe', unit: 'us', scale: 1e6, atMost: 0.1 },
  { figure: 'ping-pong', name: 'ping-pong of two processes', unit: 'us', scale: 1e6, atMost: 0.3 },
  { figure: 'compute', name: 'compute loop', unit: 'ns', scale: 1e9, atMost: 0.25 },
  { figure: 'avx', name: 'AVX loop', unit: 'ns', scale: 1e9, atMost: 0.05 },
  { figure: 'compute-32', name: '32-bit compute loop', unit: 'ns', scale: 1e9, atMost: 1 },
  { figure: 'random-read', name: '4 KiB random read', unit: 'us', scale: 1e6, atMost: 0.5 },
  { figure: 'sequential-read', name: '64 KiB of a file', unit: 'us', scale: 1e6, atMost: 0.5 },
] as const;

const NATIVE_MEASURES = [
  { figure: 'compute', name: 'compute loop' },
  { figure: 'avx', name: 'AVX loop' },
] as const;

/** Speed of a guest's kernel and programs, against QEMU's translator with the same kernel and initrd. */
export function linuxSpeedBenchmarks(workbench: Workbench): Benchmark[] {
  const files = once(() => makeLinuxFiles(workbench));
  const guest = (name: string, make: typeof tsvmCommand, cpus: number) =>
    new Guest(name, () => make(workbench, files(), cpus));
  const tsvm = guest('tsvm', tsvmCommand, 1);
  const tcg = guest('qemu tcg', tcgCommand, 1);
  const host = new Guest('host', () => [files().program, 'programs']);
  const tsvmPair = guest('tsvm', tsvmCommand, 2);
  const tcgPair = guest('qemu tcg', tcgCommand, 2);
  const cloud = once(() => cloudFiles(files));
  const against = (atMost: number) =>
    [{ of: 'tsvm', against: 'qemu tcg', as: 'ratio', atMost }] as const;
  return [
    ...MEASURES.map(
      ({ figure, name, unit, scale, atMost }): Benchmark => ({
        name: `linux: ${name}`,
        unit,
        slow: true,
        contestants: [tsvm.contestant(figure, scale), tcg.contestant(figure, scale)],
        comparisons: against(atMost),
      }),
    ),
    // Programs run natively, so no VMM can be faster than this.
    ...NATIVE_MEASURES.map(
      ({ figure, name }): Benchmark => ({
        name: `linux: ${name}, against the host itself`,
        unit: 'ns',
        slow: true,
        contestants: [tsvm.contestant(figure, 1e9), host.contestant(figure, 1e9)],
        comparisons: [{ of: 'tsvm', against: 'host', as: 'ratio', atMost: 1.1 }],
      }),
    ),
    {
      name: 'linux: exec to the first program, 2 vCPUs',
      unit: 's',
      slow: true,
      contestants: [tsvmPair.contestant('boot', 1), tcgPair.contestant('boot', 1)],
      comparisons: against(0.25),
    },
    {
      name: 'linux: exec to the first program, Debian’s cloud kernel',
      unit: 's',
      slow: true,
      contestants: [
        { name: 'tsvm', sample: () => timeBoot(tsvmCommand(workbench, cloud(), 1, 512)) },
        { name: 'qemu tcg', sample: () => timeBoot(tcgCommand(workbench, cloud(), 1, 512)) },
      ],
      comparisons: against(0.6),
    },
    {
      name: 'linux: work of two processes on 2 vCPUs, in that of one',
      unit: 'x',
      slow: true,
      contestants: [tsvmPair.contestant('parallel', 1), tcgPair.contestant('parallel', 1)],
      comparisons: [{ of: 'tsvm', as: 'value', atLeast: 1.7 }],
    },
  ];
}
