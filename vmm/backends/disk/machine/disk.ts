/**
 * The two sides of a machine's disk: {@link Disk}, the data plane in C, and {@link DiskBackend}, an
 * open image. The data plane serves what its extents map; everything else becomes a script request,
 * which the backend resolves. All offsets and lengths are bytes.
 */
import { constants } from 'node:os';

/** A range of the disk that the data plane serves by itself. It knows extents, not image formats. */
export interface Extent {
  /** Offset on the disk, a multiple of 512. */
  readonly offset: number;
  /** A multiple of 512. */
  readonly length: number;
  /** The host file and the offset of the range in it; unused for a zero extent. */
  readonly fd: number;
  readonly fdOffset: number;
  /** Reads return zeroes without touching `fd`. */
  readonly zero: boolean;
  /**
   * Writes become script requests. A write to a zero extent that is not read-only claims space from
   * the stock; see {@link Disk.addStock}.
   */
  readonly readOnly: boolean;
}

/** Operations that become script requests whatever extents there are. */
export interface ScriptedOperations {
  readonly flush: boolean;
  readonly discard: boolean;
  readonly writeZeroes: boolean;
}

/** What a data plane knows of its disk. */
export interface DiskProperties {
  /** A multiple of 512. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** The initial value of {@link Disk.setScripted}. */
  readonly scripted: ScriptedOperations;
}

/** A request that the data plane cannot serve by itself. */
export interface ScriptRequest {
  readonly id: number;
  readonly op: 'read' | 'write' | 'flush' | 'discard' | 'write-zeroes';
  /** The range of the whole request, inside the disk; both 0 for a flush. */
  readonly offset: number;
  readonly length: number;
  /**
   * The first byte that no extent serves; what lies before it is done. Equal to `offset` when
   * {@link Disk.setScripted} sent the whole request here.
   */
  readonly gapOffset: number;
  /** For `write-zeroes`: the driver allows the range to be deallocated. */
  readonly mayUnmap: boolean;
}

/** A part of the disk that read as zeroes, and the space in the file that it was given. */
export interface Claim {
  readonly offset: number;
  readonly length: number;
  readonly fdOffset: number;
}

/** A system call for a request that failed. */
export interface DiskFailure {
  readonly op: ScriptRequest['op'];
  /** The errno's name, such as `ENOSPC`, and its description. */
  readonly code: string;
  readonly description: string;
}

/**
 * The data plane of a disk: an extent map, a stock of free space and the script requests, shared by
 * the queue workers of one device. The native addon implements it.
 *
 * Any extent serves reads. Writable ones serve writes, discards and write-zeroes; zero extents serve
 * discards and write-zeroes too, with nothing to do. A flush calls fdatasync on each file that has,
 * or had when it was written, a writable extent.
 */
export interface Disk {
  /**
   * Forgets all extents and the stock, and begins anew with another disk's properties.
   * @throws NativeError `EBUSY` while a queue worker uses the disk
   */
  replace(properties: DiskProperties): void;
  setScripted(scripted: ScriptedOperations): void;
  /**
   * Adds extents; each replaces what it overlaps. Requests in flight continue with the extents they
   * found: withdraw first where that matters.
   * @throws NativeError `EINVAL` for an unaligned or overflowing extent, `ENOMEM`
   */
  pushExtents(extents: readonly Extent[]): void;
  /** Withdraws a range; resolves when nothing in flight uses what was withdrawn. */
  withdrawExtents(offset: number, length: number): Promise<void>;
  /**
   * Adds a range of a file that reads as zeroes to the stock. Writes to zero extents that are not
   * read-only claim units of the stock, oldest first. The script is woken when half of the stock is
   * used up.
   * @param unit a power of two, at least 512; it and the file are the same in every call
   * @throws NativeError `EINVAL`, `ENOMEM`
   */
  addStock(fd: number, unit: number, fdOffset: number, length: number): void;
  /** With claiming off, writes that would claim become script requests. */
  setClaiming(allowed: boolean): void;
  /**
   * Takes the claims, oldest first. Flushes are script requests while there are untaken claims:
   * call `setScripted({ flush: true, … })` before taking them.
   */
  takeClaims(): Claim[];
  /** Takes the script requests that have arrived. */
  takeScriptRequests(): ScriptRequest[];
  /** Takes the last failure since the previous call. The guest has seen it as an I/O error. */
  takeFailure(): DiskFailure | undefined;
  /**
   * Looks the request's extents up again and continues: what was missing has been pushed. For an
   * operation of {@link setScripted} this does the native part, such as fdatasync.
   */
  retry(id: number): void;
  /** Completes a request. `errno` 0 is success. For a read, `data` is its whole length. */
  finish(id: number, errno: number, data?: Uint8Array): void;
  /** Copies the data of a write request. */
  copyWriteData(id: number): Uint8Array;
  /** @throws NativeError `EBUSY` while a queue worker uses the disk */
  close(): void;
}

/** An open image as a machine's disk; `sizeBytes` is what the guest sees. */
export interface DiskBackend extends DiskProperties {
  /** Pushes the extents that are known from the start. */
  attach(disk: Disk): void;
  /**
   * Makes durable what the guest has written. No request is in flight. Without it, nothing outlives
   * the machine.
   */
  flush?(): Promise<void>;
  /** Undoes `attach`: reclaims unused stock. The data plane has stopped. */
  detach?(): void;
  /** Refills the stock; called when the script was woken, before requests are resolved. */
  refill?(): void;
  /**
   * Resolves a request: pushes extents and retries it, or finishes it. A rejection fails the request
   * with the errno of the error, else with EIO.
   */
  resolve(disk: Disk, request: ScriptRequest): Promise<void>;
  /** Closes the image's files; nothing uses the disk any more. */
  close(): void;
}

/**
 * Lets `backend` resolve the requests that have arrived, in the order of their arrival.
 * @param onError receives the failure of a request, for a log; the receiver limits the rate
 * @param onFatal called when the failure could not be reported to the guest either
 */
export function resolveScriptRequests(
  disk: Disk,
  backend: DiskBackend,
  onError: (error: unknown) => void,
  onFatal: (error: unknown) => void = (error) => {
    throw error;
  },
): void {
  try {
    backend.refill?.();
  } catch (error) {
    onError(error);
  }
  for (const request of disk.takeScriptRequests()) {
    backend
      .resolve(disk, request)
      .catch((error: unknown) => {
        disk.finish(request.id, diskErrno(error));
        onError(error);
      })
      .catch(onFatal);
  }
}

/** Ends a disk whose queue workers have stopped. The backend stays open. */
export function closeDisk(disk: Disk, backend: DiskBackend): void {
  try {
    backend.detach?.();
  } finally {
    disk.close();
  }
}

/** A failure as a sentence for a log. */
export function failureText({ op, code, description }: DiskFailure): string {
  return `the host cannot carry out a ${op}: ${description} (${code})`;
}

/** The errno, positive, that a failure ends a request with: the host's own, else EIO. */
function diskErrno(error: unknown): number {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    // Node's system errors carry it negated.
    if ('errno' in cause && typeof cause.errno === 'number') return Math.abs(cause.errno);
  }
  return constants.errno.EIO;
}
