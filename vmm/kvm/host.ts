import { statSync } from 'node:fs';
import type { NativeError } from '../../kvm-addon/index.d.ts';
import { TsvmError } from '../errors.ts';
import { loadAddon } from '../host/addon.ts';
import { neededCapabilities } from './capabilities.ts';
import { isNativeError } from './kvm-error.ts';

/** What this host's KVM is. */
export interface KvmHost {
  /** Guest kernel code is run by KVM's instruction emulator: the module is kvm-pvm. */
  readonly emulatesKernelMode: boolean;
  /** And its shadow page tables behave as our own interpreter of guest kernel code needs. */
  readonly interpreterWorks: boolean;
}

/**
 * What executes guest kernel code: the processor, by VT-x or AMD-V; or on kvm-pvm our interpreter,
 * or KVM's own emulator, which is some hundred times slower.
 */
export type KernelMode = 'hardware' | 'interpreter' | 'emulator';

const LOAD_MODULE =
  'load the module ("modprobe kvm_intel" or "modprobe kvm_amd"); where the CPU shows neither "vmx" nor ' +
  '"svm" in /proc/cpuinfo, enable virtualization in the firmware, or nested virtualization for this ' +
  'virtual machine';

/** What to do when the device cannot be opened. */
const OPEN_ADVICE: Readonly<Record<string, string>> = {
  ENOENT: LOAD_MODULE,
  ENODEV: LOAD_MODULE,
  ENXIO: LOAD_MODULE,
  EACCES: 'join the group that owns it ("sudo usermod -aG kvm $USER", then log in again)',
  EPERM: 'this container or sandbox must be given the device (docker: --device /dev/kvm)',
  EISDIR: 'it is not KVM’s device: name the right one with --kvm',
};

/** What to do when a limit is reached, whichever call reaches it. */
const LIMIT_ADVICE: Readonly<Record<string, string>> = {
  EMFILE: 'allow more open files ("ulimit -n 1024")',
  ENFILE: 'the host has no open files left: end other programs, or raise fs.file-max',
  ENOMEM: 'the host has too little memory left: end other programs',
};

/** No group that a user could join may use the device. */
function isRootsAlone(devicePath: string): boolean {
  const stat = statSync(devicePath, { throwIfNoEntry: false });
  return stat !== undefined && (stat.gid === 0 || (stat.mode & 0o060) !== 0o060);
}

/** What is known of the cause of a failed call, or where to look. */
function adviceFor({ syscall, code }: NativeError, devicePath: string): string {
  const limit = LIMIT_ADVICE[code];
  if (limit !== undefined) return limit;
  if (syscall === 'open') {
    if (code === 'EACCES' && isRootsAlone(devicePath)) {
      return `only root may use it: as root, run "chgrp kvm ${devicePath} && chmod 660 ${devicePath}" and join the group kvm`;
    }
    return OPEN_ADVICE[code] ?? 'see "man 2 open" for what that means';
  }
  if (syscall === 'KVM_GET_API_VERSION') {
    return 'it is not KVM’s device: name the right one with --kvm';
  }
  if (syscall === 'KVM_CREATE_VM' && code === 'EBUSY') {
    return 'another hypervisor may have the CPU’s virtualization (VirtualBox, VMware): stop it';
  }
  return `${syscall} failed; "dmesg" may say why. If it does not, report this with the output of "uname -r" and the CPU’s name`;
}

/** The error for a KVM device that cannot be used, with advice for the reason. */
export function kvmUnavailable(devicePath: string, cause: NativeError): TsvmError {
  return new TsvmError(
    'kvm-unavailable',
    `${devicePath} cannot be used (${cause.code}): ${adviceFor(cause, devicePath)}`,
    { cause },
  );
}

function withDeviceErrors<T>(devicePath: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw isNativeError(cause) ? kvmUnavailable(devicePath, cause) : cause;
  }
}

/**
 * Looks at the host's KVM: opens the device, runs a throw-away virtual machine on it and asks for
 * the capabilities that tsvm uses.
 * @throws TsvmError `kvm-unavailable`
 */
export function probeKvm(devicePath: string): KvmHost {
  const host = withDeviceErrors(devicePath, () => loadAddon().probeHost(devicePath));
  const missing = neededCapabilities(host.emulatesKernelMode).filter(
    ({ number }) => checkKvmExtension(devicePath, number) <= 0,
  );
  if (missing.length === 0) return host;
  const names = missing.map(({ name }) => name).join(', ');
  throw new TsvmError(
    'kvm-unavailable',
    `${devicePath} cannot be used: this KVM has no ${names}. Use a newer host kernel: ` +
      'Linux 5.10 and later have all that tsvm needs, unless they were configured without it',
  );
}

/**
 * KVM_CHECK_EXTENSION: 0 is "no", most others are limits.
 * @throws TsvmError `kvm-unavailable`
 */
export function checkKvmExtension(devicePath: string, capability: number): number {
  return withDeviceErrors(devicePath, () => loadAddon().checkExtension(devicePath, capability));
}
