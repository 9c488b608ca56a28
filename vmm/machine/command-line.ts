import { clearCpuidWords } from '../arch/x86_64/cpuid.ts';
import type { KernelMode } from '../kvm/host.ts';
import { composeCommandLine } from '../loader/kernel-cmdline.ts';
import type { ResolvedConfig } from './config.ts';
import type { DevicePlacement } from './placement.ts';

/**
 * Features that a kernel must leave alone where KVM's emulator runs it: XSAVE's variants, which
 * the detours do not know, SMAP, which would cost one in every copy from user space, and what the
 * emulator has no notion of. CPUID cannot be changed on such a host, so the kernel is told.
 */
const UNEMULATED_FEATURES = ['xsavec', 'xsaveopt', 'xsaves', 'smap', 'smep', 'umip', 'fsgsbase'];

/** Parameters for kernels that KVM's emulator runs. */
function emulatorParameters(cpuMask: readonly string[]): string[] {
  return [
    // The SYSCALL detour needs the kernel's page tables in place at CPL 3.
    'nopti',
    `clearcpuid=${clearCpuidWords([...UNEMULATED_FEATURES, ...cpuMask]).join(',')}`,
    // Each of these would otherwise measure, for seconds, what is known here.
    'no_timer_check',
    'tsc=reliable',
    '8250.nr_uarts=1',
    // With one CPU a kernel takes the lock prefixes out of its code: 3 s of emulation.
    'noreplace-smp',
  ];
}

/**
 * The kernel command line: the user's own, or a good default for this machine and host, with what
 * the user appends.
 */
export function commandLine(
  config: ResolvedConfig,
  kernelMode: KernelMode,
  placements: readonly DevicePlacement[],
): string {
  if (config.cmdline !== undefined) return config.cmdline;
  const [firstDisk] = config.disks;
  return composeCommandLine({
    // With "r" the guest's driver holds input up by RTS when its buffers are full: none is lost.
    console: 'ttyS0,115200n8r',
    ...(firstDisk !== undefined &&
      config.initrdPath === undefined && {
        root: { device: '/dev/vda', readOnly: 'files' in firstDisk || firstDisk.readOnly },
      }),
    // At once: the machine ends, and its exit code tells of the panic.
    panicSeconds: -1,
    host: kernelMode === 'emulator' ? emulatorParameters(config.cpuMask) : [],
    // ACPI describes the devices where there is ACPI.
    virtioMmio: config.acpi ? [] : placements,
    ...(config.appendCmdline !== undefined && { append: config.appendCmdline }),
  });
}
