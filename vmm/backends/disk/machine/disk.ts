/**
 * What a disk is to the data plane, and what an image format has to provide. The data plane serves
 * what its extents map; everything else becomes a script request, which the format's backend
 * resolves.
 */
import { diskErrno } from './disk-errno.ts';
import type { Extent } from './extent.ts';

/** Operations that always go to the script. */
export interface ScriptedOperations {
  readonly flush: boolean;
  readonly discard: boolean;
  readonly writeZeroes: boolean;
}

/** A request that no extent answers. */
export interface ScriptRequest {
  readonly id: number;
  readonly op: 'read' | 'write' | 'flush' | 'discard' | 'write-zeroes';
  /** The whole request's range in bytes, inside the disk; both 0 for a flush. */
  readonly offset: number;
  readonly length: number;
  /** The first byte that no extent serves: what lies before it is done. */
  readonly gapOffset: number;
  /** For `write-zeroes`: the driver allows the range to be deallocated. */
  readonly mayUnmap: boolean;
}

/** The data plane's side of a disk. The native disk has this form. */
export interface Disk {
  setScripted(scripted: ScriptedOperations): void;
  /** Adds extents; each replaces what it overlaps. What is in flight goes on with what it found. */
  pushExtents(extents: readonly Extent[]): void;
  /** Withdraws a range; resolves when nothing in flight uses what was withdrawn. */
  withdrawExtents(offset: number, length: number): Promise<void>;
  /**
   * Lays in spare space: a part of a file that reads as zeroes. A write to zeroes that are not
   * read-only claims units of it, the oldest first. Bytes; `unit` is a power of two, and it and the
   * file are the same every time. The script is woken when half of it is used up.
   */
  addSpare(fd: number, unit: number, fdOffset: number, length: number): void;
  /** While it is not allowed nothing is claimed: writes that would do it are script requests. */
  setClaiming(allowed: boolean): void;
  /**
   * Takes the claims, oldest first: offset on the disk, length and offset in the file of each. A
   * flush is scripted while there are some; whoever takes them has flushes scripted before.
   */
  takeClaims(): number[];
  /** Takes the script requests that have arrived. */
  takeScriptRequests(): ScriptRequest[];
  /** Goes on with a request: the extents that it lacked are there now, or it needs none. */
  retry(id: number): void;
  /** Ends a request. `errno` 0 is success. For a read, `data` is its whole length. */
  finish(id: number, errno: number, data?: Uint8Array): void;
  /** A write request's data. */
  copyWriteData(id: number): Uint8Array;
}

/** An open disk image: the format's side of a disk. */
export interface DiskBackend {
  /** Bytes, a multiple of 512: what the guest sees. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly scripted: ScriptedOperations;
  /** Gives the disk the extents that are known from the start. */
  attach(disk: Disk): void;
  /** Takes back from the disk what is the image's; nothing is in flight, nor will be. */
  detach?(): void;
  /** The script was woken; called before the requests that have arrived are resolved. */
  tend?(): void;
  /**
   * Resolves a request: pushes extents and retries it, or finishes it. A rejection is the request's
   * failure, told to the guest with the errno that the error carries, else EIO.
   */
  resolve(disk: Disk, request: ScriptRequest): Promise<void>;
  /** Closes the image's files; nothing may use the disk any more. */
  close(): void;
}

/**
 * Lets `backend` resolve the requests that have arrived. They begin in the order of their arrival.
 * @param onError a request's failure, for a log; the receiver limits the rate
 * @param onFatal the failure itself could not be told to the guest
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
    backend.tend?.();
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
