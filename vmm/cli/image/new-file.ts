import {
  chmodSync,
  chownSync,
  lstatSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type HostFile, type HostFiles, openHostFile } from '../../backends/disk/host-file.ts';
import type { ImageFile } from '../../backends/disk/image-file.ts';
import { createFile } from '../../backends/disk/open-file.ts';
import { ReservingFile } from '../../backends/disk/reserving-file.ts';
import { TsvmError } from '../../errors.ts';

/**
 * A file that nobody sees before it is whole: in what order its parts become durable does not matter
 * until then.
 */
class UnseenFile extends ReservingFile {
  override datasyncSync(): void {}

  override async datasync(): Promise<void> {}
}

/**
 * A file that appears under its name, or takes the place of the one that has it, when it is
 * finished. Until then it has another name beside that; a block device is written in place.
 */
export class NewFile {
  readonly file: ImageFile;
  /** It is a block device: what it has is overwritten from the start. */
  readonly inPlace: boolean;
  readonly #path: string;
  /** What is to be replaced, locked. */
  readonly #replaced: { readonly file: HostFile; readonly stats: Stats } | undefined;
  readonly #unseen: UnseenFile | undefined;

  /**
   * @param path a link is followed
   * @throws TsvmError `file-unreadable`, `disk-locked`; `invalid-disk` for what is no file
   */
  constructor(path: string, hostFiles: HostFiles) {
    this.#path = linkTarget(path);
    const stats = statSync(this.#path, { throwIfNoEntry: false });
    this.inPlace = stats?.isBlockDevice() ?? false;
    // A file that is in use, or may not be written, is not replaced either.
    const present = stats && openHostFile(this.#path, hostFiles, { readOnly: false });
    if (present !== undefined && this.inPlace) {
      this.file = present;
      return;
    }
    this.#replaced = stats && present && { file: present, stats };
    const unseenPath = join(dirname(this.#path), `.${basename(this.#path)}.${process.pid}.partial`);
    try {
      const opened = createFile(unseenPath, hostFiles);
      this.#unseen = new UnseenFile(unseenPath, opened, false, hostFiles);
      this.file = this.#unseen;
    } catch (error) {
      present?.close();
      throw error;
    }
  }

  /**
   * Gives it its name. It is whole, and has been closed.
   * @param durable it is on the host's disk before that, and its name when this is done
   */
  async appear(durable: boolean): Promise<void> {
    if (durable) await syncPath(this.file.path);
    if (this.#unseen === undefined) return;
    const { path } = this.#unseen;
    if (this.#replaced !== undefined) this.#takeOver(path, this.#replaced.stats);
    renameSync(path, this.#path);
    this.#replaced?.file.close();
    if (durable) await syncPath(dirname(this.#path));
  }

  /** It is not wanted any more. It may be closed or open. */
  vanish(): void {
    if (this.#unseen !== undefined) rmSync(this.#unseen.path, { force: true });
    this.#replaced?.file.close();
  }

  /** Whoever could use the old file can use the new one. */
  #takeOver(path: string, { gid, mode, uid }: Stats): void {
    if (process.getuid?.() === 0) chownSync(path, uid, gid);
    chmodSync(path, mode & 0o7777);
  }
}

function linkTarget(path: string): string {
  const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
  if (!isLink) return path;
  try {
    return realpathSync(path);
  } catch (cause) {
    throw new TsvmError('file-unreadable', `${path} is a link that leads nowhere: remove it`, {
      cause,
    });
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
