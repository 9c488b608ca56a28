import { statfsSync } from 'node:fs';
import { HostFile, type HostFiles } from './host-file.ts';
import type { OpenedFile } from './open-file.ts';

/** statfs(2): ext2, ext3 and ext4 have the same one. */
const EXT4_SUPER_MAGIC = 0xef53;
/** A shorter write gains less than the request for space costs. */
const RESERVED_BYTES_MIN = 256 * 1024;

/**
 * A file that a lot is written into for the first time. ext4 keeps account of every block whose
 * place it has not chosen yet, which takes a third of a long write's time; so a long write asks for
 * its space before it begins. Where the space is not enough, it fails as it would have done.
 */
export class ReservingFile extends HostFile {
  readonly #reserves: boolean;

  constructor(path: string, opened: OpenedFile, hostFiles: HostFiles) {
    super(path, opened, false, hostFiles);
    this.#reserves = !this.isBlockDevice && statfsSync(path).type === EXT4_SUPER_MAGIC;
  }

  override writeSync(offset: number, data: Uint8Array): void {
    this.#reserve(offset, data.length);
    super.writeSync(offset, data);
  }

  override async write(offset: number, data: Uint8Array): Promise<void> {
    this.#reserve(offset, data.length);
    await super.write(offset, data);
  }

  #reserve(offset: number, length: number): void {
    if (this.#reserves && length >= RESERVED_BYTES_MIN) this.allocateSync(offset, length);
  }
}
