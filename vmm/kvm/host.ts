import { statSync } from 'node:fs';
import type { NativeError } from '../../kvm-addon/index.d.ts';
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
  EMFILE: 'allow more open files ("ulimit -n 1024")',
  ENOMEM: 'the host has too little memory left: end other programs',
  EBUSY: 'another hypervisor has the CPU’s virtualization: stop it',
  EINVAL: 'it is not KVM’s device: name the right one with --kvm',
  ENOTTY: 'it is not KVM’s device: name the right one with --kvm',
  ENODEV: 'the CPU’s virtualization is off: enable VT-x or AMD-V in the firmware set-up',
};

/** No group that a user could join may use the device. */
function isRootsAlone(devicePath: string): boolean {
  const stat = statSync(devicePath, { throwIfNoEntry: false });
  return stat !== undefined && (stat.gid === 0 || (stat.mode & 0o060) !== 0o060);
}

/** The error for a KVM device that cannot be used, with advice for the reason. */
export function kvmUnavailable(devicePath: string, cause: NativeError): TsvmError {
  const advice =
    cause.code === 'EACCES' && isRootsAlone(devicePath)
      ? 'only root may use it: as root, run "chgrp kvm DEVICE && chmod 660 DEVICE" and join the group kvm'
      : (ADVICE[cause.code] ?? 'see "tsvm doctor"');
  return new TsvmError(
    'kvm-unavailable',
    `${devicePath} cannot be used (${cause.code}): ${advice.replaceAll('DEVICE', devicePath)}`,
    { cause },
  );
}

/**
 * Looks at the host's KVM: opens the device and runs a throw-away virtual machine on it.
 * @throws TsvmError `kvm-unavailable`
 */
export function probeKvm(devicePath: string): KvmHost {
  try {
    return loadAddon().probeHost(devicePath);
  } catch (cause) {
    throw isNativeError(cause) ? kvmUnavailable(devicePath, cause) : cause;
  }
}

/** KVM_CHECK_EXTENSION: 0 is "no", most others are limits. */
export function checkKvmExtension(devicePath: string, capability: number): number {
  return loadAddon().checkExtension(devicePath, capability);
}

/**
 * Writes as many bytes as a pipe or a socket takes without waiting for its reader, and answers how
 * many; 0 when there is no room.
 * @throws NativeError `EOPNOTSUPP` for a file of another kind, `EPIPE` when the reader has gone, …
 */
export function writeNow(fd: number, bytes: Uint8Array): number {
  return loadAddon().writeNow(fd, bytes);
}

/**
 * Puts a terminal in raw mode, its output too: Node's own raw mode goes on to write CR LF for LF.
 * @returns what it was, for {@link restoreTerminal}
 * @throws NativeError
 */
export function makeTerminalRaw(fd: number): Uint8Array {
  return loadAddon().makeTerminalRaw(fd);
}

/** False when the terminal is another process group's: this process is in the background. */
export function isTerminalOurs(fd: number): boolean {
  return loadAddon().isTerminalOurs(fd);
}

/**
 * Puts a terminal back, unless this process is in the background: then the terminal is another's.
 * @throws NativeError
 */
export function restoreTerminal(fd: number, saved: Uint8Array): void {
  loadAddon().restoreTerminal(fd, saved);
}

/**
 * From now on the process has ended, with 128 + N, `graceMs` after the first of these signals,
 * however busy the event loop is, or at once when one but SIGHUP comes again. Called once, after
 * handlers for the signals were set.
 */
export function setEndDeadline(signals: readonly number[], graceMs: number): void {
  loadAddon().setEndDeadline(signals, graceMs);
}

/** True when this process may use io_uring. */
export function hasIoUring(): boolean {
  return loadAddon().probeIoUring();
}
