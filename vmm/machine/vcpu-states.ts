/** The state of all vCPUs and of what they share, in KVM's structures. */
import { STATE_MSRS, TSC_MSRS } from '../arch/x86_64/saved-msrs.ts';
import { KVM_CAP_XCRS } from '../kvm/capabilities.ts';
import { checkKvmExtension } from '../kvm/host.ts';
import type { VcpuStateKind, Vm, VmStateKind } from '../kvm/vm.ts';
import type { Assembly } from './assembly.ts';

export interface VcpuState {
  readonly kinds: ReadonlyMap<VcpuStateKind, Uint8Array>;
  readonly msrs: ReadonlyMap<number, bigint>;
}

export interface VcpuStates {
  readonly vcpus: readonly VcpuState[];
  readonly shared: ReadonlyMap<VmStateKind, Uint8Array>;
}

/** In the order of vcpu_state.h: these before the MSRs, … */
const BEFORE_MSRS: readonly VcpuStateKind[] = ['sregs', 'xcrs', 'xsave', 'lapic'];
/** … and these after. */
const AFTER_MSRS: readonly VcpuStateKind[] = ['debugregs', 'events', 'mp-state', 'regs'];
/** The clock goes on from where it was, so it comes last. */
const SHARED: readonly VmStateKind[] = ['pic-master', 'pic-slave', 'ioapic', 'pit', 'clock'];

/** No vCPU runs. */
export function saveVcpuStates({ config, kernelMode, vm }: Assembly): VcpuStates {
  const msrs = kernelMode === 'hardware' ? [...TSC_MSRS, ...STATE_MSRS] : STATE_MSRS;
  // Without XSAVE there is no XCR0.
  const hasXcrs = checkKvmExtension(config.devicePath, KVM_CAP_XCRS) > 0;
  const kinds = [...BEFORE_MSRS, ...AFTER_MSRS].filter((kind) => kind !== 'xcrs' || hasXcrs);
  // First, so that no time passes in the guest that it does not know of.
  const shared = new Map(SHARED.map((kind) => [kind, vm.getVmState(kind)]));
  const vcpus = Array.from({ length: config.cpus }, (_, cpu) => ({
    kinds: new Map(kinds.map((kind) => [kind, vm.getState(cpu, kind)])),
    msrs: vm.getMsrs(cpu, msrs),
  }));
  return { vcpus, shared };
}

/** The vCPUs have their CPUID and have not run. @throws TsvmError `kvm-failed` */
export function loadVcpuStates(vm: Vm, { vcpus, shared }: VcpuStates): void {
  for (const [kind, bytes] of shared) if (kind !== 'clock') vm.setVmState(kind, bytes);
  for (const [cpu, { kinds, msrs }] of vcpus.entries()) {
    const set = (kind: VcpuStateKind) => {
      const bytes = kinds.get(kind);
      if (bytes !== undefined) vm.setState(cpu, kind, bytes);
    };
    BEFORE_MSRS.forEach(set);
    // KVM refuses some that the guest does not have, even their own value.
    const present = vm.getMsrs(cpu, [...msrs.keys()]);
    vm.setMsrs(cpu, new Map([...msrs].filter(([msr, value]) => present.get(msr) !== value)));
    AFTER_MSRS.forEach(set);
  }
  const clock = shared.get('clock');
  if (clock !== undefined) vm.setVmState('clock', clock);
}
