import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { writeNow } from '../host/write-now.ts';

/** The errno name of a system call error. */
export function errnoCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/** /dev/null (Linux, Documentation/admin-guide/devices.txt). */
const NULL_DEVICE = 0x103;

/** True when the descriptor is a terminal. */
export function isTerminal(fd: number): boolean {
  // These checks usually suffice and avoid loading `node:tty` (see scripts/bundle.ts).
  const stat = fstatSync(fd);
  return stat.isCharacterDevice() && stat.rdev !== NULL_DEVICE && isatty(fd);
}

const AGAIN_FLAGS = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
/** /dev/ptmx, whose open creates a new terminal (Linux, Documentation/admin-guide/devices.txt). */
const PTMX_DEVICE = 0x502;

/**
 * Non-blocking writes to a descriptor. Its open file description is shared with other processes,
 * such as the shell, so O_NONBLOCK is not set on it.
 */
export class OutputDescriptor {
  readonly #fd: number;
  /**
   * A socket, or another user's pipe: written with the addon's writeNow(). Other descriptors do not
   * need the addon to be loaded.
   */
  #stream: boolean;
  /** The terminal or pipe, opened again with O_NONBLOCK; closed by {@link close}. */
  #ownFd: number | undefined;

  constructor(fd: number) {
    this.#fd = fd;
    const stat = fstatSync(fd);
    const mayOpen = stat.isFIFO() || (isTerminal(fd) && stat.rdev !== PTMX_DEVICE);
    if (mayOpen) this.#openAgain();
    this.#stream = stat.isSocket() || (stat.isFIFO() && this.#ownFd === undefined);
  }

  /**
   * Writes as much as is possible without blocking.
   * @returns the number of bytes written, 0 if it would block
   * @throws Error with the errno name as `code`
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
      // Owned by another user, or no /proc: writes may block.
    }
  }
}
