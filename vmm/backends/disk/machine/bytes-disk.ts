import { constants } from 'node:os';
import { ceilToSector } from '../file/sector.ts';
import type { Disk, DiskBackend, ScriptRequest } from './disk.ts';

/** A small read-only disk in memory. It has no extents: every read is served here. */
export class BytesDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly = true;
  readonly scripted = { flush: false, discard: false, writeZeroes: false };
  readonly #bytes: Uint8Array;

  /** @param bytes padded with zeroes to a whole sector */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.sizeBytes = ceilToSector(bytes.length);
  }

  attach(): void {}

  async resolve(disk: Disk, { id, op, offset, length }: ScriptRequest): Promise<void> {
    if (op !== 'read') {
      disk.finish(id, constants.errno.EROFS);
      return;
    }
    const data = new Uint8Array(length);
    data.set(this.#bytes.subarray(offset, offset + length));
    disk.finish(id, 0, data);
  }

  close(): void {}
}
