/**
 * Files that appear whole, or not at all: written under a draft's name in the same folder, then
 * renamed. A reader sees the old file or the new one; a process that is killed leaves the old file,
 * and a draft that the next writer in that folder removes.
 */
import {
  closeSync,
  constants,
  fdatasyncSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fsPath } from '../util/byte-names.ts';
import { hasCode } from '../util/error-code.ts';
import { draftName, removeAbandonedDrafts } from './drafts.ts';

export interface AtomicFileOptions {
  /** Permissions of the new file; 0o600 when not given. */
  readonly mode?: number;
  /** Survives a power cut: the content is on the disk before the name is, and then the name. */
  readonly durable?: boolean;
}

/** A file that is being written and has its name only after {@link AtomicFile.commit}. */
export class AtomicFile implements Disposable {
  readonly path: string;
  readonly draftPath: string;
  readonly fd: number;
  readonly #durable: boolean;
  #open = true;

  /**
   * Opens a draft beside `path`, for reading and writing.
   * @throws Error of node:fs when the folder does not exist or cannot be written
   */
  constructor(path: string, { mode = 0o600, durable = false }: AtomicFileOptions = {}) {
    const folder = dirname(path);
    removeAbandonedDrafts(folder);
    this.path = path;
    this.draftPath = join(folder, draftName());
    this.fd = openSync(fsPath(this.draftPath), 'wx+', mode);
    this.#durable = durable;
  }

  /**
   * Gives the file its name, in place of a file that has it, and closes `fd`.
   * @throws Error of node:fs; the draft is gone then
   */
  commit(): void {
    try {
      if (this.#durable) fdatasyncSync(this.fd);
      renameSync(fsPath(this.draftPath), fsPath(this.path));
      if (this.#durable) syncFolder(dirname(this.path));
    } finally {
      this[Symbol.dispose]();
    }
  }

  /** Closes `fd` and removes the draft, unless it was committed. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.fd);
    rmSync(fsPath(this.draftPath), { force: true });
  }
}

/**
 * Replaces a file's content as a whole.
 * @throws Error of node:fs; the old file is as it was then
 */
export function replaceFile(
  path: string,
  content: string | Uint8Array,
  options: AtomicFileOptions = {},
): void {
  using file = new AtomicFile(path, options);
  writeFileSync(file.fd, content);
  file.commit();
}

/** Makes the names in a folder survive a power cut, where we may read it and its file system can. */
export function syncFolder(path: string): void {
  try {
    const fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (!hasCode(error, 'EACCES', 'EPERM', 'EINVAL')) throw error;
  }
}
