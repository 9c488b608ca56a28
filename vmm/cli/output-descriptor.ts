import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { writeNow } from '../host/write-now.ts';

/** What an error of a system call is about. */
export function errnoCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/** /dev/null (Linux, Documentation/admin-guide/devices.txt). */
const NULL_DEVICE = 0x103;

/** True when the descriptor is a terminal. */
export function isTerminal(fd: number): boolean {
  // Most often this is enough, and saves loading `node:tty` (see scripts/bundle.ts).
  const stat = fstatSync(fd);
  return stat.isCharacterDevice() && stat.rdev !== NULL_DEVICE && isatty(fd);
}

const AGAIN_FLAGS = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
/** /dev/ptmx, where opening makes another terminal (Linux, Documentation/admin-guide/devices.txt). */
const PTMX_DEVICE = 0x502;

/**
 * A descriptor to write to without ever waiting for whoever reads. The open file is shared with other
 * processes, the shell above all, so its mode stays as it is.
 */
export class OutputDescriptor {
  readonly #fd: number;
  /**
   * A socket, or a pipe of another user, that can be written to without waiting as it is. That takes
   * the addon, which the commands that print and end can do without.
   */
  #stream: boolean;
  /** The same terminal or pipe, opened once more so that it need not wait; ours to close. */
  #ownFd: number | undefined;

  constructor(fd: number) {
    this.#fd = fd;
    const stat = fstatSync(fd);
    const mayOpen = stat.isFIFO() || (isTerminal(fd) && stat.rdev !== PTMX_DEVICE);
    if (mayOpen) this.#openAgain();
    this.#stream = stat.isSocket() || (stat.isFIFO() && this.#ownFd === undefined);
  }

  /**
   * Writes as much as there is room for now.
   * @returns how many bytes; 0 when there is no room
   * @throws Error with the errno's name as `code`
   */
  write(bytes: Uint8Array): number {
    if (this.#stream) {
      try {
        return writeNow(this.#fd, bytes);
      } catch (error) {
        if (errnoCode(error) !== 'EOPNOTSUPP') throw error;
        this.#stream = false;
        this.#openAgain();
      }
    }
    try {
      return writeSync(this.#ownFd ?? this.#fd, bytes);
    } catch (error) {
      if (errnoCode(error) === 'EAGAIN') return 0;
      throw error;
    }
  }

  close(): void {
    if (this.#ownFd !== undefined) closeSync(this.#ownFd);
  }

  #openAgain(): void {
    try {
      this.#ownFd = openSync(`/proc/self/fd/${this.#fd}`, AGAIN_FLAGS);
    } catch {
      // Another user's, or no /proc: then a write may wait.
    }
  }
}
