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
