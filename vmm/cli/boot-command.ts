import { Command } from 'commander';
import { locateDefaultGuest } from '../../guest-images/default-guest.ts';
import { TsvmError } from '../errors.ts';
import type { ImageDiskConfig, MachineConfig } from '../machine/config.ts';
import type { Engine } from '../machine/kernel-mode.ts';
import type { LogLevel } from '../observability/logger.ts';
import {
  addFlags,
  appendWords,
  collect,
  onlyOnce,
  parseConsole,
  parseCpus,
  parseDisk,
  parseEngine,
  parseLogLevel,
  parseMemory,
  parseOnOff,
  parseOnReboot,
} from './boot-options.ts';
import type { ConsoleKind } from './host-console.ts';
import { runBoot } from './run-boot.ts';

interface BootOptions {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly disk: readonly ImageDiskConfig[];
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
    .option('--kernel <file>', 'bzImage or ELF kernel (default: the default guest’s)', onlyOnce)
    .option('--initrd <file>', 'initial RAM disk', onlyOnce)
    .option(
      '--disk <file[,ro][,overlay][,format=raw|qcow2][,backing=allow]>',
      'a disk, instead of the default guest’s; may be given again; the first is /dev/vda',
      collect(parseDisk),
      [],
    )
    .option('--cmdline <str>', 'the whole kernel command line', onlyOnce)
    .option(
      '--append <str>',
      'goes after the command line that tsvm composes; may be given again',
      appendWords,
    )
    .option('--cpus <n>', 'number of vCPUs, 1 to 32', parseCpus, 1)
    .option('--memory <size>', 'guest memory, e.g. 512M or 2G', parseMemory, 256 * 2 ** 20)
    .option(
      '--cpu-mask <flags>',
      'CPU features to hide, as /proc/cpuinfo names them: avx2,rdrand',
      addFlags,
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
    .option('--metrics <file>', 'writes counters and boot times there, as JSON', onlyOnce)
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
      process.exitCode = await runBoot(machineConfig(options), {
        console: options.console,
        onReboot: options.onReboot,
        logLevel: options.logLevel,
        metricsPath: options.metrics,
      });
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
  const defaultDisk: ImageDiskConfig[] = ownDisks
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
