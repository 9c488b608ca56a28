/** Runs the soak program (guest-programs/soak) as a guest's PID 1. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { DefaultKernel } from '../../guest-images/default-guest.ts';
import type { MachineEnd } from '../../vmm/index.ts';
import type { EngineTuning } from '../../vmm/kvm/vm.ts';
import { bootAssembly } from '../../vmm/machine/boot-machine.ts';
import { packageRoot } from '../../vmm/util/package-root.ts';
import { ConsoleOutput } from './console-output.ts';
import { compileGuestProgram, initrdOf } from './initrd.ts';
import { temporaryFolder } from './tsvm-process.ts';

const SOURCES = join(packageRoot(), 'test/support/guest-programs/soak');

/** The program as an initial RAM disk. */
export function soakInitrd(test: TestContext): string {
  const folder = temporaryFolder(test);
  const sources = readdirSync(SOURCES).filter((name) => name.endsWith('.c'));
  compileGuestProgram(
    join(folder, 'soak'),
    sources.map((name) => join(SOURCES, name)),
  );
  const initrd = join(folder, 'soak.cpio');
  writeFileSync(initrd, initrdOf(join(folder, 'soak')));
  return initrd;
}

export interface SoakOptions extends DefaultKernel {
  readonly initrdPath: string;
  readonly cpus: number;
  readonly rounds?: number;
  /** Names of its parts; default: all. */
  readonly parts?: readonly string[];
  /** Additional words of the kernel command line. */
  readonly append?: string;
  /** Only on hosts where the kernel-mode engine runs the guest. */
  readonly tuning?: EngineTuning;
  readonly memoryMiB?: number;
}

export interface SoakRun {
  readonly end: MachineEnd;
  readonly output: string;
  /** The program's counters; undefined if it ended before it printed them. */
  readonly failures: number | undefined;
  readonly statistics: Readonly<Record<string, number>>;
}

/** Boots a machine with the program and waits for its end. */
export async function runSoak(options: SoakOptions): Promise<SoakRun> {
  const { rounds = 1, parts = [], append = '', memoryMiB = 256 } = options;
  const words = [`soak_rounds=${rounds}`, `soak_only=${parts.join(',')}`, append];
  const config = {
    kernelPath: options.kernelPath,
    modulesPath: options.modulesPath,
    initrdPath: options.initrdPath,
    appendCmdline: words.join(' '),
    cpus: options.cpus,
    memoryBytes: memoryMiB * 2 ** 20,
  };
  const console = new ConsoleOutput();
  const { machine, vm } = await bootAssembly(config, { console });
  try {
    if (options.tuning !== undefined) vm.tuneEngine(options.tuning);
    machine.start();
    const end = await machine.ended;
    const output = console.text;
    const [, failures] = /^soak: rounds=\d+ failures=(\d+)/m.exec(output) ?? [];
    return {
      end,
      output,
      failures: failures === undefined ? undefined : Number(failures),
      statistics: vm.statistics(),
    };
  } finally {
    await machine.close();
  }
}
