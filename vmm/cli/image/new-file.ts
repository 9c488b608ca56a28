import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  fsync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { fileIdentity, identityOf } from '../../backends/disk/file/file-identity.ts';
import { type HostFile, openHostFile } from '../../backends/disk/file/host-file.ts';
import type { ImageFile } from '../../backends/disk/file/image-file.ts';
import { createFile } from '../../backends/disk/file/open-file.ts';
import { ReservingFile } from '../../backends/disk/file/reserving-file.ts';
import { TsvmError } from '../../errors.ts';
import { syncFolder } from '../../host/atomic-file.ts';
import { draftName, removeAbandonedDrafts } from '../../host/drafts.ts';
import type { HostFiles } from '../../host/host-files.ts';
import { decodeBytes, fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import { printMessage } from '../standard-streams.ts';

/** open(2): not in `constants`. */
const O_PATH = 0o10000000;
const LINKS_MAX = 40;
const MODE_STICKY = 0o1000;

const syncFile = promisify(fsync);

/**
 * A file that nobody sees before it is complete, so the order in which its parts become durable
 * does not matter.
 */
class UnseenFile extends ReservingFile {
  override datasyncSync(): void {}

  override async datasync(): Promise<void> {}
}

/**
 * A file that appears under its name, or replaces the existing one, when it is complete. Until then
 * it has a hidden name in the same folder. What cannot be replaced is written in place: a block
 * device, a mount point, a file named by its descriptor, a file in a folder where no other can be
 * created, and a file whose owner would change.
 */
export class NewFile {
  readonly file: ImageFile;
  /** The existing file is overwritten from the start. */
  readonly inPlace: boolean;
  readonly #path: string;
  /** The file to be replaced, locked. */
  readonly #replaced: { readonly file: HostFile; readonly stats: Stats } | undefined;
  readonly #unseen: UnseenFile | undefined;
  readonly #hostFiles: HostFiles;
  #begun = false;

  /**
   * @param path symbolic links are followed
   * @throws TsvmError `file-unreadable` when it cannot be created, `disk-locked`; `invalid-disk`
   * for something else than a file
   */
  constructor(path: string, hostFiles: HostFiles) {
    this.#hostFiles = hostFiles;
    const target = hostCall(path, () => resolveTarget(path));
    this.#path = target.path;
    const stats = hostCall(path, () => statSync(fsPath(this.#path), { throwIfNoEntry: false }));
    if (stats === undefined) {
      this.#unseen = openUnseen(this.#path, hostFiles);
      this.file = this.#unseen;
      this.inPlace = false;
      return;
    }
    // A file that is in use or not writable is not replaced either.
    const file = openHostFile(this.#path, hostFiles, { readOnly: false });
    try {
      if (canBeReplaced(file, stats, target)) this.#unseen = openBeside(this.#path, hostFiles);
    } catch (error) {
      file.close();
      throw error;
    }
    this.file = this.#unseen ?? file;
    this.inPlace = this.#unseen === undefined;
    if (!this.inPlace) this.#replaced = { file, stats };
  }

  /** Truncates a file that is written in place. All sources must be open. */
  begin(): void {
    this.#begun = true;
    if (this.inPlace && !this.file.isBlockDevice) this.file.truncateSync(0);
  }

  /**
   * Gives the file, which is complete and closed, its name.
   * @param durable sync the file before, and the name afterwards
   */
  async appear(durable: boolean): Promise<void> {
    // The lock shows that no killed process left it.
    const locked = openHostFile(this.file.path, this.#hostFiles, { readOnly: false });
    try {
      if (durable) await syncFile(locked.fd);
      if (this.#unseen === undefined) return;
      const { path } = this.#unseen;
      hostCall(this.#path, () => {
        this.#refuseStranger();
        if (this.#replaced !== undefined) this.#takeOver(path, this.#replaced.stats);
        renameSync(fsPath(path), fsPath(this.#path));
      });
    } finally {
      locked.close();
    }
    this.#replaced?.file.close();
    if (durable) syncFolder(dirname(this.#path));
  }

  /** Discards the file, whether it is open or closed. */
  vanish(): void {
    if (this.#unseen !== undefined) removeUnseen(this.#unseen.path);
    else if (this.#begun && !this.file.isBlockDevice) emptyFile(this.file.path);
    this.#replaced?.file.close();
  }

  /** Another program may have created a file of that name. */
  #refuseStranger(): void {
    const expected = this.#replaced && identityOf(this.#replaced.stats);
    if (fileIdentity(this.#path) === expected) return;
    throw new Error('another program has created or replaced it meanwhile');
  }

  /** Copies owner and permissions of the old file. */
  #takeOver(path: string, { gid, mode, uid }: Stats): void {
    if (process.geteuid?.() === 0) chownSync(fsPath(path), uid, gid);
    chmodSync(fsPath(path), mode & 0o7777);
  }
}

/** The place where the file will appear. */
interface Target {
  /** Not a symbolic link, unless it names an open file. */
  readonly path: string;
  readonly folder: string;
  /** It names an open file of a process, as /dev/fd/3 does, which cannot be replaced. */
  readonly isDescriptor: boolean;
}

/** Follows symbolic links, the last of which may lead to a missing file. */
function resolveTarget(path: string): Target {
  if (path === '') throw new Error('the name is empty');
  let at = path;
  for (let links = 0; links <= LINKS_MAX; links++) {
    if (at.endsWith('/')) throw new Error(`${at} is the name of a folder`);
    const folder = realFolder(dirname(at));
    const own = join(folder, basename(at));
    if (/^\/proc\/\d+(\/task\/\d+)?\/fd$/.test(folder)) {
      return { path: own, folder, isDescriptor: true };
    }
    const stats = lstatSync(fsPath(own), { throwIfNoEntry: false });
    if (stats?.isSymbolicLink() !== true) return { path: own, folder, isDescriptor: false };
    at = resolve(folder, decodeBytes(readlinkSync(fsPath(own), { encoding: 'buffer' })));
  }
  throw new Error('too many symbolic links');
}

function realFolder(folder: string): string {
  return decodeBytes(realpathSync.native(fsPath(folder), { encoding: 'buffer' }));
}

/** Whether rename(2) can replace the file with the same owner and permissions. */
function canBeReplaced(present: HostFile, stats: Stats, target: Target): boolean {
  if (target.isDescriptor || present.isBlockDevice) return false;
  const uid = process.geteuid?.();
  if (uid !== 0 && uid !== stats.uid) return false;
  const folderFd = openSync(fsPath(target.folder), O_PATH | constants.O_DIRECTORY);
  try {
    if (mountId(folderFd) !== mountId(present.fd)) return false;
    const folder = fstatSync(folderFd);
    const isSticky = (folder.mode & MODE_STICKY) !== 0;
    return uid === 0 || !isSticky || uid === stats.uid || uid === folder.uid;
  } finally {
    closeSync(folderFd);
  }
}

/** The mount that a file is on; a mount point's differs from its folder's. See proc(5), fdinfo. */
function mountId(fd: number): string | undefined {
  return /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
}

/** @throws TsvmError when no file can be created in the folder */
function openUnseen(path: string, hostFiles: HostFiles): UnseenFile {
  const folder = dirname(path);
  removeAbandonedDrafts(folder, hostFiles);
  const draftPath = join(folder, draftName());
  try {
    const opened = createFile(draftPath, hostFiles);
    // The hidden name would be confusing in messages.
    return new UnseenFile(draftPath, opened, false, hostFiles, path);
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    throw cannotBeMade(path, cause ?? error);
  }
}

/**
 * Likewise, for a file that can be written in place: undefined when no other can be created in the
 * folder.
 */
function openBeside(path: string, hostFiles: HostFiles): UnseenFile | undefined {
  try {
    return openUnseen(path, hostFiles);
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    if (hasCode(cause, 'EACCES', 'EPERM', 'EROFS')) return undefined;
    throw error;
  }
}

/** Files may be creatable but not removable: chattr(1), "append only". */
function removeUnseen(path: string): void {
  try {
    rmSync(fsPath(path), { force: true });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    printMessage(`tsvm image: ${path} remains and cannot be removed: ${reason}\n`);
  }
}

/** An incomplete file must not be taken for an image. */
function emptyFile(path: string): void {
  try {
    closeSync(openSync(fsPath(path), 'w'));
  } catch {
    // The original failure is reported.
  }
}

/** @throws TsvmError when the host fails */
function hostCall<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw cause instanceof TsvmError ? cause : cannotBeMade(path, cause);
  }
}

function cannotBeMade(path: string, cause: unknown): TsvmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  // The hidden name would be confusing in messages.
  const shown = reason.replace(/, \w+ '.*$/s, '');
  return new TsvmError('file-unreadable', `${path || '""'} cannot be made: ${shown}`, { cause });
}
