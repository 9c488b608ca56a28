import { clearCpuidWords } from '../arch/x86_64/cpuid.ts';
import type { KernelMode } from '../kvm/host.ts';
import { type CommandLineParts, composeCommandLine } from '../loader/kernel-cmdline.ts';
import type { ResolvedConfig } from './config.ts';
import type { MmioPlacement } from './placement.ts';

/**
 * CPU features that a kernel must not use when KVM's emulator runs it: variants of XSAVE, which the
 * detours do not support; SMAP, which would need a detour in every copy from user space; and features
 * unknown to the emulator. CPUID cannot be changed on such a host, so the command line disables them.
 */
const UNEMULATED_FEATURES = ['xsavec', 'xsaveopt', 'xsaves', 'smap', 'smep', 'umip', 'fsgsbase'];

/** Parameters for kernels that KVM's emulator runs. */
function emulatorParameters(cpuMask: readonly string[]): string[] {
  return [
    // The SYSCALL detour needs the kernel's page tables in place at CPL 3.
    'nopti',
    `clearcpuid=${clearCpuidWords([...UNEMULATED_FEATURES, ...cpuMask]).join(',')}`,
    // Each of these avoids a measurement that would take seconds.
    'no_timer_check',
    'tsc=reliable',
    '8250.nr_uarts=1',
    // With one CPU a kernel removes the lock prefixes from its code, which takes 3 s of emulation.
    'noreplace-smp',
  ];
}

/** With "r" the guest's driver stops input by RTS when its buffers are full, so none is lost. */
const SERIAL_CONSOLE = 'ttyS0,115200n8r';
const VIRTIO_CONSOLE = 'hvc0';

/**
 * Parameters for Debian's kernel as the default guest's. It would test its ciphers and signatures
 * each time it starts, and each one that a module brings: a third of the time to the first program on
 * hosts without hardware virtualization.
 */
const PREBUILT_KERNEL = ['cryptomgr.notests'];

/**
 * Linux uses memory that is added once it is "online", which distributions leave to udev's rules. As
 * movable memory it can be taken away again.
 */
const ONLINE_ADDED_MEMORY = 'memhp_default_state=online_movable';

/**
 * The parameter that a boot entry's command line lacks to have its console on this machine's; it comes
 * last, so that it is /dev/console.
 */
export function missingConsole({ console }: ResolvedConfig, entryLine: string): string | undefined {
  const form = console === 'serial' ? /(?:^|\s)console=ttyS0\b/ : /(?:^|\s)console=hvc0\b/;
  if (form.test(entryLine)) return undefined;
  return `console=${console === 'serial' ? SERIAL_CONSOLE : VIRTIO_CONSOLE}`;
}

/**
 * The kernel command line: the user's, or that of a boot entry, or a default for this machine and
 * host, followed by the user's additions.
 * @param entryLine the command line of the disk's boot entry, when that is booted
 */
export function commandLine(
  config: ResolvedConfig,
  kernelMode: KernelMode,
  placements: readonly MmioPlacement[],
  entryLine?: string,
): string {
  if (config.cmdline !== undefined) return config.cmdline;
  return composeCommandLine({
    ...(entryLine === undefined ? ownSystem(config) : entrySystem(config, entryLine)),
    // Reboot immediately: the machine then ends, with an exit code that reports the panic.
    panicSeconds: -1,
    host: kernelMode === 'emulator' ? emulatorParameters(config.cpuMask) : [],
    ...(config.memoryMaxBytes !== undefined && { machine: [ONLINE_ADDED_MEMORY] }),
    // With ACPI, its tables describe the devices.
    virtioMmio: config.acpi ? [] : placements,
    ...(config.appendCmdline !== undefined && { append: config.appendCmdline }),
  });
}

function ownSystem(config: ResolvedConfig): CommandLineParts {
  const [firstDisk] = config.disks;
  return {
    console: config.console === 'serial' ? SERIAL_CONSOLE : VIRTIO_CONSOLE,
    ...(firstDisk !== undefined &&
      config.initrdPath === undefined && {
        root: { device: '/dev/vda', readOnly: 'files' in firstDisk || firstDisk.readOnly },
      }),
    ...(config.modulesPath !== undefined && {
      initrdInit: '/load-modules',
      kernel: PREBUILT_KERNEL,
    }),
  };
}

function entrySystem(config: ResolvedConfig, entryLine: string): CommandLineParts {
  return { entry: [entryLine, missingConsole(config, entryLine)].filter(Boolean).join(' ') };
}
