import { TsvmError } from '../errors.ts';
import { loadAddon } from './addon.ts';
import { isNativeError } from './kvm-error.ts';

/** What this host's KVM is. */
export interface KvmHost {
  /** Guest kernel code is run by KVM's instruction emulator: the module is kvm-pvm. */
  readonly emulatesKernelMode: boolean;
}

const ADVICE: Readonly<Record<string, string>> = {
  ENOENT:
    'load the module ("modprobe kvm_intel" or "modprobe kvm_amd"); in a virtual machine, enable nested virtualization for it',
  EACCES: 'join the group that owns it ("sudo usermod -aG kvm $USER", then log in again)',
  EPERM: 'this container or sandbox must be given the device (docker: --device /dev/kvm)',
  EBUSY: 'another hypervisor has the CPU’s virtualization: stop it',
  ENODEV: 'the CPU’s virtualization is off: enable VT-x or AMD-V in the firmware set-up',
};

/**
 * Looks at the host's KVM: opens the device and runs a throw-away virtual machine on it.
 * @throws TsvmError `kvm-unavailable` with advice for the reason
 */
export function probeKvm(devicePath: string): KvmHost {
  try {
    return loadAddon().probeHost(devicePath);
  } catch (cause) {
    if (!isNativeError(cause)) throw cause;
    const advice = ADVICE[cause.code] ?? 'see "tsvm doctor"';
    throw new TsvmError(
      'kvm-unavailable',
      `${devicePath} cannot be used (${cause.code}): ${advice}`,
      { cause },
    );
  }
}

/** KVM_CHECK_EXTENSION: 0 is "no", most others are limits. */
export function checkKvmExtension(devicePath: string, capability: number): number {
  return loadAddon().checkExtension(devicePath, capability);
}

/** True when this process may use io_uring. */
export function hasIoUring(): boolean {
  return loadAddon().probeIoUring();
}
