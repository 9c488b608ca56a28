/**
 * File descriptors, and passing open files between processes over a UNIX socket: unix(7), SCM_RIGHTS. Devices that run in
 * another process (vhost-user) get guest memory and eventfds this way.
 */
import { loadAddon } from './addon.ts';

/** Most descriptors in one message: the kernel's SCM_MAX_FD. */
export const DESCRIPTORS_MAX = 253;

export interface DescriptorMessage {
  readonly bytes: Uint8Array;
  /** Open with O_CLOEXEC; the receiver closes them. */
  readonly fds: readonly number[];
}

/** Two connected stream sockets, open with O_CLOEXEC. */
export function socketPair(): [number, number] {
  return loadAddon().socketPair();
}

/** Has an open descriptor be what another one is, which stays open. */
export function replaceDescriptor(fd: number, target: number): void {
  loadAddon().replaceDescriptor(fd, target);
}

/**
 * Sends bytes together with open files, which stay open here. Never waits for room.
 * @param bytes at least one: a stream carries no descriptors without data
 * @returns how many bytes were sent, which all descriptors go with; 0 when there is no room
 * @throws NativeError `EPIPE` when the other side is closed, …
 */
export function sendDescriptors(fd: number, { bytes, fds }: DescriptorMessage): number {
  return loadAddon().sendDescriptors(fd, bytes, fds);
}

/**
 * Receives what is there, without waiting: up to `bytesMax` bytes, and the descriptors of the
 * message they belong to.
 * @returns no bytes when the other side has closed; undefined when nothing is there yet
 * @throws NativeError `EMSGSIZE` when there are more than `fdsMax` descriptors: all are closed then,
 * so that a peer cannot exhaust this process's descriptors
 */
export function receiveDescriptors(
  fd: number,
  bytesMax: number,
  fdsMax: number,
): DescriptorMessage | undefined {
  return loadAddon().receiveDescriptors(fd, bytesMax, fdsMax);
}
