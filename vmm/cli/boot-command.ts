import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { Command } from 'commander';
import { locateDefaultGuest } from '../../guest-images/default-guest.ts';
import { TsvmError } from '../errors.ts';
import { bootMachine } from '../machine/boot-machine.ts';
import { BootMetrics } from '../machine/boot-metrics.ts';
import type { DiskConfig, MachineConfig } from '../machine/config.ts';
import type { Engine } from '../machine/kernel-mode.ts';
import type { MachineEnd } from '../machine/machine.ts';
import { createLogger, type Logger, type LogLevel } from '../observability/logger.ts';
import {
  collect,
  parseConsole,
  parseCpus,
  parseDisk,
  parseEngine,
  parseLogLevel,
  parseMemory,
  parseOnOff,
  parseOnReboot,
} from './boot-options.ts';
import {
  EXIT_GUEST_CRASHED,
  EXIT_OUR_FAILURE,
  EXIT_POWEROFF,
  exitCodeOfSignal,
} from './exit-codes.ts';
import { type ConsoleKind, type HostConsole, isTerminal, openHostConsole } from './host-console.ts';

interface BootOptions {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly disk: readonly DiskConfig[];
  readonly cmdline?: string;
  readonly append?: string;
  readonly cpus: number;
  readonly memory: number;
  readonly cpuMask: readonly string[];
  readonly acpi: 'on' | 'off';
  readonly console?: ConsoleKind;
  readonly onReboot: 'exit' | 'restart';
  readonly logLevel: LogLevel;
  readonly metrics?: string;
  readonly kvm: string;
  readonly engine: Engine;
}

const HELP = `
Exit codes:
  0    the guest switched itself off, or reset with --on-reboot exit
  1    the guest's kernel panicked, or a vCPU ended in a triple fault
  2    the command line makes no sense
  125  tsvm itself failed: no KVM, an unreadable file, a failed system call
  128+N  signal N ended tsvm; Ctrl-A x counts as SIGTERM

In the terminal, Ctrl-A x ends the machine and Ctrl-A h shows the keys.

Examples:
  tsvm boot                                    the default guest, in this terminal
  tsvm boot --cpus 2 --memory 1G --disk root.img   the default kernel, this disk as its root
  tsvm boot --kernel vmlinuz --initrd initrd.img --append "root=/dev/vda1" --disk debian.raw
  printf 'uname -a\\npoweroff\\n' | tsvm boot   input from a pipe`;

export function bootCommand(): Command {
  return new Command('boot')
    .description('Boots Linux; its serial console is this terminal.')
    .option('--kernel <file>', 'bzImage or ELF kernel (default: the default guest’s)')
    .option('--initrd <file>', 'initial RAM disk')
    .option(
      '--disk <file[,ro][,overlay][,format=raw|qcow2][,backing=allow]>',
      'a disk, instead of the default guest’s; may be given again; the first is /dev/vda',
      collect(parseDisk),
      [],
    )
    .option('--cmdline <str>', 'the whole kernel command line')
    .option('--append <str>', 'goes behind the command line that tsvm composes')
    .option('--cpus <n>', 'number of vCPUs, 1 to 32', parseCpus, 1)
    .option('--memory <size>', 'guest memory, e.g. 512M or 2G', parseMemory, 256 * 2 ** 20)
    .option(
      '--cpu-mask <flags>',
      'CPU features to hide, as /proc/cpuinfo names them: avx2,rdrand',
      (text) => text.split(',').filter((flag) => flag !== ''),
      [],
    )
    .option(
      '--acpi <on|off>',
      'off: an MP table and the command line describe the machine',
      parseOnOff,
      'on',
    )
    .option(
      '--console <where>',
      'tty, stdio, file:PATH or none (default: tty in a terminal, else stdio)',
      parseConsole,
    )
    .option('--on-reboot <what>', 'exit or restart when the guest resets', parseOnReboot, 'exit')
    .option('--log-level <level>', 'error, warn, info or debug', parseLogLevel, 'info')
    .option('--metrics <file>', 'writes counters and boot times there, as JSON')
    .option('--kvm <device>', 'KVM’s device', '/dev/kvm')
    .option(
      '--engine <which>',
      'what runs guest kernels on a host without VT-x or AMD-V: interpreter (tsvm’s own), emulator (KVM’s, some hundred times slower), or auto',
      parseEngine,
      'auto',
    )
    .addHelpText('after', HELP)
    .allowExcessArguments(false)
    .action(async (options: BootOptions) => {
      process.exitCode = await boot(options);
    });
}

function machineConfig(options: BootOptions): MachineConfig {
  const guest = options.kernel === undefined ? locateDefaultGuest() : undefined;
  const kernelPath = options.kernel ?? guest?.kernelPath;
  if (kernelPath === undefined) {
    throw new TsvmError(
      'file-unreadable',
      'the default guest is not built: run "npm run setup", or give a kernel with --kernel',
    );
  }
  const ownDisks = options.disk.length > 0 || options.initrd !== undefined || guest === undefined;
  const defaultDisk: DiskConfig[] = ownDisks
    ? []
    : [
        {
          path: guest.rootDiskPath,
          readOnly: false,
          format: 'raw',
          overlay: true,
          backing: 'same-folder',
        },
      ];
  return {
    kernelPath,
    initrdPath: options.initrd,
    disks: [...defaultDisk, ...options.disk],
    cmdline: options.cmdline,
    appendCmdline: options.append,
    cpus: options.cpus,
    memoryBytes: options.memory,
    acpi: options.acpi === 'on',
    cpuMask: options.cpuMask,
    devicePath: options.kvm,
    engine: options.engine,
  };
}

/** How long the reader of standard output is waited for once the machine is to end. */
const OUTPUT_GRACE_MS = 500;

const ENDING_SIGNALS = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'] as const;

async function boot(options: BootOptions): Promise<number> {
  const metrics = new BootMetrics();
  const config = machineConfig(options);
  const stop = new AbortController();
  let signalNumber = constants.signals.SIGTERM;
  const end = (signal: keyof typeof constants.signals): void => {
    signalNumber = constants.signals[signal];
    stop.abort();
  };
  const kind = options.console ?? { kind: isTerminal(0) && isTerminal(1) ? 'tty' : 'stdio' };
  const hostConsole = await openHostConsole(kind, () => end('SIGTERM'));
  for (const signal of ENDING_SIGNALS) process.on(signal, () => end(signal));
  stop.signal.addEventListener('abort', () =>
    setTimeout(() => hostConsole.abandonOutput(), OUTPUT_GRACE_MS).unref(),
  );
  // Last of all, whatever ends the process: an uncaught error included.
  process.once('exit', () => hostConsole.restore());
  const logger = createLogger(options.logLevel, (line) =>
    process.stderr.write(line + hostConsole.lineEnd),
  );
  try {
    const code = await runUntilDone(options, config, hostConsole, logger, metrics, stop.signal);
    return code ?? exitCodeOfSignal(signalNumber);
  } finally {
    await hostConsole.close();
    if (options.metrics !== undefined) writeMetrics(options.metrics, metrics);
  }
}

/** Runs machines until one ends for good. Undefined: `stop` ended it. */
async function runUntilDone(
  options: BootOptions,
  config: MachineConfig,
  hostConsole: HostConsole,
  logger: Logger,
  metrics: BootMetrics,
  stop: AbortSignal,
): Promise<number | undefined> {
  for (;;) {
    const machine = await bootMachine(config, { console: hostConsole, logger, metrics });
    let end: MachineEnd;
    try {
      const onStop = () => machine.stop();
      stop.addEventListener('abort', onStop);
      if (stop.aborted) machine.stop();
      else machine.start();
      end = await machine.ended;
      stop.removeEventListener('abort', onStop);
    } finally {
      metrics.addMachine(machine);
      await machine.close();
    }
    if (stop.aborted) return undefined;
    if (end.reason === 'reset' && options.onReboot === 'restart') {
      logger.debug('the guest resets: starting it again');
      continue;
    }
    return exitCode(end, logger);
  }
}

function exitCode(end: MachineEnd, logger: Logger): number {
  switch (end.reason) {
    case 'poweroff':
    case 'reset':
      return EXIT_POWEROFF;
    case 'panic':
      logger.error('the guest’s kernel panicked; its last messages say why');
      return EXIT_GUEST_CRASHED;
    case 'triple-fault':
      logger.error('a vCPU ended in a triple fault');
      return EXIT_GUEST_CRASHED;
    case 'failed':
      logger.error(end.message);
      return EXIT_OUR_FAILURE;
    case 'stopped':
      return EXIT_POWEROFF;
  }
}

function writeMetrics(path: string, metrics: BootMetrics): void {
  try {
    writeFileSync(path, `${JSON.stringify(metrics.toJson(), null, 2)}\n`);
  } catch (cause) {
    throw new TsvmError('file-unreadable', `the metrics cannot be written to ${path}`, { cause });
  }
}
