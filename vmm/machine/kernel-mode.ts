import { hiddenRegisterFeatures } from '../arch/x86_64/cpuid.ts';
import { TsvmError } from '../errors.ts';
import type { KernelMode, KvmHost } from '../kvm/host.ts';

/** What executes guest kernel code where KVM has neither VT-x nor AMD-V: `--engine`. */
export const ENGINES = ['auto', 'interpreter', 'emulator'] as const;
export type Engine = (typeof ENGINES)[number];

/**
 * How this host is to execute guest kernel code.
 * @throws TsvmError `invalid-config` when it cannot do so as asked for
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
 * On kvm-pvm programs see the processor's own CPUID, and use what a kernel was not told of.
 * @throws TsvmError `invalid-config` when the mask hides registers that the kernel must save for them
 */
export function checkCpuMask(kernelMode: KernelMode, mask: readonly string[]): void {
  // The emulator's way has no other means to keep a kernel from instructions that it does not know.
  if (kernelMode !== 'interpreter') return;
  const [feature] = hiddenRegisterFeatures(mask);
  if (feature === undefined) return;
  throw new TsvmError(
    'invalid-config',
    `--cpu-mask ${feature}: on this host, which has no VT-x or AMD-V, guest programs would use it all the same, and the kernel would not save its registers; features without registers of their own, such as rdrand, can be hidden`,
  );
}
