import { hiddenRegisterFeatures } from '../arch/x86_64/cpuid.ts';
import { TsvmError } from '../errors.ts';
import type { KernelMode, KvmHost } from '../kvm/host.ts';
import type { KernelEntry } from '../loader/kernel.ts';

/** What executes guest kernel code on hosts without VT-x and AMD-V; see `--engine`. */
export const ENGINES = ['auto', 'interpreter', 'emulator'] as const;
export type Engine = (typeof ENGINES)[number];

/**
 * Chooses how this host executes guest kernel code.
 * @throws TsvmError `invalid-config` if the host does not support the requested engine
 */
export function chooseKernelMode(host: KvmHost, engine: Engine): KernelMode {
  if (!host.emulatesKernelMode) {
    if (engine === 'auto') return 'hardware';
    throw new TsvmError(
      'invalid-config',
      `--engine ${engine}: this host has hardware virtualization, which needs no engine`,
    );
  }
  if (engine === 'emulator') return 'emulator';
  if (host.interpreterWorks) return 'interpreter';
  if (engine === 'auto') return 'emulator';
  throw new TsvmError(
    'invalid-config',
    '--engine interpreter: this host’s KVM does not drop stale shadow page tables as that needs; use --engine emulator',
  );
}

/**
 * Neither the interpreter nor kvm-pvm's emulator runs more of 32-bit kernel mode than the way from a
 * 32-bit entry to long mode.
 * @returns a warning about a kernel that may be a 32-bit one, on such a host
 * @throws TsvmError `invalid-kernel` about one that is
 */
export function checkKernelEntry(
  kernelMode: KernelMode,
  name: string,
  entry: KernelEntry,
): string | undefined {
  if (kernelMode === 'hardware') return undefined;
  if (entry.protocol === 'pvh' && entry.is32Bit) {
    return (
      `${name} is a 32-bit file: this host has neither VT-x nor AMD-V, where such a kernel works only ` +
      'if it goes on to 64-bit mode before it turns on paging'
    );
  }
  if (entry.protocol !== 'linux32' || !entry.is32BitOnly) return undefined;
  throw new TsvmError(
    'invalid-kernel',
    `${name} has no 64-bit entry, it is a 32-bit kernel, which needs a host with VT-x or AMD-V; this one has neither: use a 64-bit kernel`,
  );
}

/**
 * On kvm-pvm, guest programs see the processor's own CPUID and may use features hidden from the kernel.
 * @throws TsvmError `invalid-config` when the mask hides registers that the kernel must save for them
 */
export function checkCpuMask(kernelMode: KernelMode, mask: readonly string[]): void {
  // With the emulator there is no other way to keep kernels from using unsupported instructions.
  if (kernelMode !== 'interpreter') return;
  const [feature] = hiddenRegisterFeatures(mask);
  if (feature === undefined) return;
  throw new TsvmError(
    'invalid-config',
    `--cpu-mask ${feature}: on this host, which has no VT-x or AMD-V, guest programs would use it all the same, and the kernel would not save its registers; features without registers of their own, such as rdrand, can be hidden`,
  );
}
