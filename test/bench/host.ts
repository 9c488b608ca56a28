import { availableParallelism, cpus, release } from 'node:os';
import { probeKvm } from '../../vmm/kvm/host.ts';

/** The host on which the benchmarks run. Results for one kind of KVM say nothing about another. */
export interface MeasuredHost {
  readonly kvm: 'hardware virtualization' | 'kvm-pvm';
  readonly processor: string;
  /** Number of cores that the benchmarks may use. */
  readonly processors: number;
  readonly linux: string;
}

export function measuredHost(): MeasuredHost {
  return {
    kvm: probeKvm('/dev/kvm').emulatesKernelMode ? 'kvm-pvm' : 'hardware virtualization',
    processor: cpus()[0]?.model ?? 'unknown',
    processors: availableParallelism(),
    linux: release(),
  };
}

export function hostText({ kvm, processor, processors, linux }: MeasuredHost): string {
  return `host: ${kvm}; ${processors} x ${processor}; Linux ${linux}\n`;
}
