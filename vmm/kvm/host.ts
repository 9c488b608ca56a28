import { statSync } from 'node:fs';
import type { NativeError } from '../../kvm-addon/index.d.ts';
import { TsvmError } from '../errors.ts';
import { loadAddon } from '../host/addon.ts';
import { neededCapabilities } from './capabilities.ts';
import { isNativeError } from './kvm-error.ts';

/** Properties of the host's KVM. */
export interface KvmHost {
  /** The module is kvm-pvm, which emulates the instructions of guest kernels. */
  readonly emulatesKernelMode: boolean;
  /** On kvm-pvm: its shadow page tables behave as tsvm's interpreter requires. */
  readonly interpreterWorks: boolean;
}

/**
 * What executes guest kernel code: the processor (VT-x or AMD-V), or on kvm-pvm either tsvm's
 * interpreter or KVM's emulator, which is about a hundred times slower.
 */
export type KernelMode = 'hardware' | 'interpreter' | 'emulator';

const LOAD_MODULE =
  'load the module ("modprobe kvm_intel" or "modprobe kvm_amd"); where the CPU shows neither "vmx" nor ' +
  '"svm" in /proc/cpuinfo, enable virtualization in the firmware, or nested virtualization for this ' +
  'virtual machine';

/** Advice by errno for a device that cannot be opened. */
const OPEN_ADVICE: Readonly<Record<string, string>> = {
  ENOENT: LOAD_MODULE,
  ENODEV: LOAD_MODULE,
  ENXIO: LOAD_MODULE,
  EACCES: 'join the group that owns it ("sudo usermod -aG kvm $USER", then log in again)',
  EPERM: 'give this container or sandbox access to the device (docker: --device /dev/kvm)',
  EISDIR: 'it is not the KVM device: pass the right one with --kvm',
};

/** Advice by errno for an exceeded limit, for any system call. */
const LIMIT_ADVICE: Readonly<Record<string, string>> = {
  EMFILE: 'allow more open files ("ulimit -n 1024")',
  ENFILE: 'the host has reached its limit of open files: end other programs, or raise fs.file-max',
  ENOMEM: 'the host is out of memory: end other programs',
};

/** True when no group that a user could join may use the device. */
function isRootsAlone(devicePath: string): boolean {
  const stat = statSync(devicePath, { throwIfNoEntry: false });
  return stat !== undefined && (stat.gid === 0 || (stat.mode & 0o060) !== 0o060);
}

/** Advice for a failed system call. */
function adviceFor({ syscall, code }: NativeError, devicePath: string): string {
  const limit = LIMIT_ADVICE[code];
  if (limit !== undefined) return limit;
  if (syscall === 'open') {
    if (code === 'EACCES' && isRootsAlone(devicePath)) {
      return `only root may use it: as root, run "chgrp kvm ${devicePath} && chmod 660 ${devicePath}" and join the group kvm`;
    }
    return OPEN_ADVICE[code] ?? 'see "man 2 open" for the meaning';
  }
  if (syscall === 'KVM_GET_API_VERSION') {
    return 'it is not the KVM device: pass the right one with --kvm';
  }
  if (syscall === 'KVM_CREATE_VM' && code === 'EBUSY') {
    return 'another hypervisor (VirtualBox, VMware) may be using VT-x or AMD-V: stop it';
  }
  return `${syscall} failed; "dmesg" may show the reason. If not, report this with the output of "uname -r" and the CPU’s name`;
}

/** The error for an unusable KVM device, with advice that fits its cause. */
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
 * Probes the host's KVM: opens the device, runs a temporary virtual machine and checks the
 * capabilities that tsvm requires.
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
    `${devicePath} cannot be used: this KVM lacks ${names}. Use a newer host kernel: ` +
      'Linux 5.10 and later have all that tsvm needs, unless configured without it',
  );
}

/**
 * KVM_CHECK_EXTENSION: 0 means unsupported; for some capabilities the value is a limit.
 * @throws TsvmError `kvm-unavailable`
 */
export function checkKvmExtension(devicePath: string, capability: number): number {
  return withDeviceErrors(devicePath, () => loadAddon().checkExtension(devicePath, capability));
}
