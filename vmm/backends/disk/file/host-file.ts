import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  read,
  readSync,
  statfsSync,
  write,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { TsvmError } from '../../../errors.ts';
import type { HostFiles } from '../../../host/host-files.ts';
import { assertDeviceHolds } from './device-size.ts';
import type { ImageFile } from './image-file.ts';
import { createFile, type OpenedFile, openFile } from './open-file.ts';

/** Size of one write of zeroes where the file system cannot make them. */
const ZEROES_BYTES = 2 ** 20;

/** statfs(2); ext2 and ext3 have the same magic number. */
const EXT4_SUPER_MAGIC = 0xef53;
/** Below this, reserving space costs more than it saves. */
const EXPECTED_BYTES_MIN = 256 * 1024;

const readAsync = promisify(read) as typeof read.__promisify__;
const writeAsync = promisify(write) as typeof write.__promisify__;
const fdatasyncAsync = promisify(fdatasync) as typeof fdatasync.__promisify__;

/** Only a reader may open without the lock. */
export type FileAccess =
  | { readonly readOnly: false; readonly unlocked?: false }
  /** `unlocked`: read even while another program writes it. */
  | { readonly readOnly: true; readonly unlocked?: boolean };

/**
 * Opens an image's file.
 * @throws TsvmError `file-unreadable`, `invalid-disk`, `disk-locked`
 */
export function openHostFile(
  path: string,
  hostFiles: HostFiles,
  { readOnly, unlocked = false }: FileAccess,
): HostFile {
  const locks = readOnly && unlocked ? undefined : hostFiles;
  return new HostFile(path, openFile(path, readOnly, locks), readOnly, hostFiles);
}

/**
 * Makes a new, empty file for an image.
 * @throws TsvmError `file-unreadable` when it cannot be created or exists
 */
export function createHostFile(path: string, hostFiles: HostFiles): HostFile {
  return new HostFile(path, createFile(path, hostFiles), false, hostFiles);
}

/** A file or a block device of the host. */
export class HostFile implements ImageFile {
  readonly path: string;
  readonly fd: number;
  readonly readOnly: boolean;
  readonly isBlockDevice: boolean;
  /** Its name in messages. */
  readonly #shownAs: string;
  readonly #hostFiles: HostFiles;
  readonly #deviceBytes: number;
  #isOnExt4: boolean | undefined;

  constructor(
    path: string,
    opened: OpenedFile,
    readOnly: boolean,
    hostFiles: HostFiles,
    shownAs = path,
  ) {
    this.path = path;
    this.#shownAs = shownAs;
    this.fd = opened.fd;
    this.readOnly = readOnly;
    this.isBlockDevice = opened.isBlockDevice;
    this.#deviceBytes = opened.sizeBytes;
    this.#hostFiles = hostFiles;
  }

  /** Queried each time: a machine's data plane extends the file too. */
  sizeBytes(): number {
    if (this.isBlockDevice) return this.#deviceBytes;
    return this.#do('the size of', 0, () => fstatSync(this.fd).size);
  }

  readSync(offset: number, target: Uint8Array): void {
    this.#do('reading', offset, () => {
      for (let done = 0; done < target.length; ) {
        const got = readSync(this.fd, target, done, target.length - done, offset + done);
        if (got === 0) return void target.fill(0, done);
        done += got;
      }
    });
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      const { bytesRead } = await this.#doAsync('reading', offset, () =>
        readAsync(this.fd, target, done, target.length - done, offset + done),
      );
      if (bytesRead === 0) return void target.fill(0, done);
      done += bytesRead;
    }
  }

  writeSync(offset: number, data: Uint8Array): void {
    this.#do('writing', offset, () => {
      for (let done = 0; done < data.length; ) {
        done += writeSync(this.fd, data, done, data.length - done, offset + done);
      }
    });
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    for (let done = 0; done < data.length; ) {
      const { bytesWritten } = await this.#doAsync('writing', offset, () =>
        writeAsync(this.fd, data, done, data.length - done, offset + done),
      );
      done += bytesWritten;
    }
  }

  writeZeroesSync(offset: number, length: number, deallocate: boolean): void {
    if (length === 0) return;
    const end = offset + length;
    const sizeBytes = this.sizeBytes();
    // New parts of a file are holes; only reserved space has to be requested.
    if (!deallocate && end > sizeBytes)
      this.allocateSync(Math.max(offset, sizeBytes), end - Math.max(offset, sizeBytes));
    if (offset < sizeBytes) this.#zero(offset, Math.min(end, sizeBytes) - offset, deallocate);
    // Not by ftruncate(2): another thread may extend the file beyond this at any moment.
    if (end > this.sizeBytes()) this.allocateSync(end - 1, 1);
  }

  discardSync(offset: number, length: number): void {
    this.#do('discarding', offset, () =>
      this.#supported(() => this.#hostFiles.zeroFile(this.fd, offset, length, true)),
    );
  }

  allocateSync(offset: number, length: number): void {
    if (length === 0) return;
    assertDeviceHolds(this, offset + length);
    // A block device has all its space already.
    if (this.isBlockDevice) return;
    this.#do('reserving space in', offset, () => {
      if (this.#supported(() => this.#hostFiles.allocateFile(this.fd, offset, length))) return;
      // Then no space is reserved, and a later write may fail: not an error here.
      if (offset + length > this.sizeBytes()) ftruncateSync(this.fd, offset + length);
    });
  }

  /**
   * ext4 accounts for every delayed allocation, which takes a third of the time of a long write:
   * reserving the space avoids that.
   */
  expectWritesSync(offset: number, length: number): void {
    if (length < EXPECTED_BYTES_MIN || this.isBlockDevice) return;
    try {
      this.#isOnExt4 ??= statfsSync(`/proc/self/fd/${this.fd}`).type === EXT4_SUPER_MAGIC;
      if (this.#isOnExt4) this.#hostFiles.allocateFile(this.fd, offset, length);
    } catch {
      // A real problem shows in the writes.
    }
  }

  nextDataSync(offset: number): number {
    const sizeBytes = this.sizeBytes();
    if (offset >= sizeBytes) return sizeBytes;
    return this.#seek(() => this.#hostFiles.seekData(this.fd, offset), sizeBytes, offset);
  }

  nextHoleSync(offset: number): number {
    const sizeBytes = this.sizeBytes();
    if (offset >= sizeBytes) return sizeBytes;
    return this.#seek(() => this.#hostFiles.seekHole(this.fd, offset), sizeBytes, sizeBytes);
  }

  truncateSync(sizeBytes: number): void {
    this.#do('changing the size of', sizeBytes, () => ftruncateSync(this.fd, sizeBytes));
  }

  datasyncSync(): void {
    this.#do('syncing', 0, () => fdatasyncSync(this.fd));
  }

  async datasync(): Promise<void> {
    await this.#doAsync('syncing', 0, () => fdatasyncAsync(this.fd));
  }

  close(): void {
    closeSync(this.fd);
  }

  /** A range inside the file. */
  #zero(offset: number, length: number, deallocate: boolean): void {
    this.#do('zeroing', offset, () => {
      const zero = (hole: boolean) =>
        this.#supported(() => this.#hostFiles.zeroFile(this.fd, offset, length, hole));
      if (zero(deallocate) || (deallocate && zero(false))) return;
      const zeroes = new Uint8Array(Math.min(length, ZEROES_BYTES));
      for (let done = 0; done < length; done += zeroes.length) {
        this.writeSync(offset + done, zeroes.subarray(0, Math.min(zeroes.length, length - done)));
      }
    });
  }

  /** @param unknown the result where the file system cannot tell */
  #seek(seek: () => number, sizeBytes: number, unknown: number): number {
    return this.#do('seeking in', 0, () => {
      try {
        return Math.min(seek(), sizeBytes);
      } catch (error) {
        const code = errorCode(error);
        if (code === 'ENXIO') return sizeBytes;
        if (code === 'EINVAL' || code === 'EOPNOTSUPP') return unknown;
        throw error;
      }
    });
  }

  /** Returns false when the file system cannot do it. */
  #supported(call: () => void): boolean {
    try {
      call();
      return true;
    } catch (error) {
      const code = errorCode(error);
      // ENODEV: a block device that can neither discard nor zero; see fallocate(2).
      if (code === 'EOPNOTSUPP' || code === 'ENOSYS' || code === 'ENODEV') return false;
      // The range is not aligned to the device's sectors.
      if (code === 'EINVAL' && this.isBlockDevice) return false;
      throw error;
    }
  }

  #do<T>(what: string, offset: number, call: () => T): T {
    try {
      return call();
    } catch (cause) {
      throw this.#failure(what, offset, cause);
    }
  }

  async #doAsync<T>(what: string, offset: number, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (cause) {
      throw this.#failure(what, offset, cause);
    }
  }

  #failure(what: string, offset: number, cause: unknown): TsvmError {
    if (cause instanceof TsvmError) return cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const advices = this.isBlockDevice ? DEVICE_ADVICE : ADVICE;
    const advice = advices[errorCode(cause) ?? ''] ?? '';
    return new TsvmError('disk-io', `${what} ${this.#shownAs} at ${offset}: ${reason}${advice}`, {
      cause,
    });
  }
}

const ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: '; free some space on the file system',
  EDQUOT: '; free some space, or ask for a larger quota',
  EFBIG: '; the file system has no larger files, or the limit is set by "ulimit -f"',
};
const DEVICE_ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: '; the block device, or what it is on, must be larger',
};

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
