import type { NativeArchiveAnswer } from '../../kvm-addon/index.d.ts';
import { loadAddon } from './addon.ts';

export type ArchiveAnswer = NativeArchiveAnswer;

/** A pipe: the end to read and the end to write, open with O_CLOEXEC. */
export function makePipe(): [reader: number, writer: number] {
  return loadAddon().makePipe();
}

/**
 * Moves an archive between a connection to the guest agent and a pipe, on a thread of its own, and closes
 * neither.
 * @param direction `out` of the connection, or `in`
 * @returns the agent's answer
 * @throws NativeError `ECONNRESET` when the connection ends before, `EBADMSG` for what is no archive,
 * `EPIPE` when nobody reads the pipe, …
 */
export function pumpArchive(
  connection: number,
  pipe: number,
  direction: 'in' | 'out',
): Promise<ArchiveAnswer> {
  return loadAddon().archivePump(connection, pipe, direction === 'out');
}
