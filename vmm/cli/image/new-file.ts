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

/** open(2): not in `constants`. */
const O_PATH = 0o10000000;
const LINKS_MAX = 40;
const MODE_STICKY = 0o1000;

const syncFile = promisify(fsync);

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
 * finished. Until then it has a hidden name in the same folder. What cannot be replaced is written
 * in place: a block device, a mount point, a file named by its descriptor, a file in a folder that
 * takes no other file, and a file whose owner would change.
 */
export class NewFile {
  readonly file: ImageFile;
  /** What is there is overwritten from the start. */
  readonly inPlace: boolean;
  readonly #path: string;
  /** What is to be replaced, locked. */
  readonly #replaced: { readonly file: HostFile; readonly stats: Stats } | undefined;
  readonly #unseen: UnseenFile | undefined;
  readonly #hostFiles: HostFiles;
  #begun = false;

  /**
   * @param path links are followed
   * @throws TsvmError `file-unreadable` when it cannot be made, `disk-locked`; `invalid-disk` for
   * what is no file
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
    // A file that is in use, or may not be written, is not replaced either.
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

  /** Empties what is written in place. All that is read has been opened. */
  begin(): void {
    this.#begun = true;
    if (this.inPlace && !this.file.isBlockDevice) this.file.truncateSync(0);
  }

  /**
   * Gives it its name. It is whole, and has been closed.
   * @param durable it is on the host's disk before that, and its name when this is done
   */
  async appear(durable: boolean): Promise<void> {
    // Its lock says that it is no remains of a killed process.
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

  /** It is not wanted any more. It may be closed or open. */
  vanish(): void {
    if (this.#unseen !== undefined) removeUnseen(this.#unseen.path);
    else if (this.#begun && !this.file.isBlockDevice) emptyFile(this.file.path);
    this.#replaced?.file.close();
  }

  /** Another program may have given the name to a file of its own. */
  #refuseStranger(): void {
    const expected = this.#replaced && identityOf(this.#replaced.stats);
    if (fileIdentity(this.#path) === expected) return;
    throw new Error('another program has made or replaced it meanwhile');
  }

  /** Whoever could use the old file can use the new one. */
  #takeOver(path: string, { gid, mode, uid }: Stats): void {
    if (process.geteuid?.() === 0) chownSync(fsPath(path), uid, gid);
    chmodSync(fsPath(path), mode & 0o7777);
  }
}

/** Where a file is to appear. */
interface Target {
  /** No link, unless it names an open file. */
  readonly path: string;
  readonly folder: string;
  /** It names an open file of a process, as /dev/fd/3 does, which has to stay the same file. */
  readonly isDescriptor: boolean;
}

/** Follows links, the last of which may lead to a file that is not there yet. */
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

/** Whether rename(2) may put another file in its place, and whoever may use it still may then. */
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

/** A file that is itself a mount point has another one than its folder: proc(5), fdinfo. */
function mountId(fd: number): string | undefined {
  return /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
}

/** @throws TsvmError when the folder takes no new file */
function openUnseen(path: string, hostFiles: HostFiles): UnseenFile {
  const folder = dirname(path);
  removeAbandonedDrafts(folder, hostFiles);
  const draftPath = join(folder, draftName());
  try {
    const opened = createFile(draftPath, hostFiles);
    // The hidden name tells nobody anything.
    return new UnseenFile(draftPath, opened, false, hostFiles, path);
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    throw cannotBeMade(path, cause ?? error);
  }
}

/** The same beside a file that can be written in place: undefined when the folder takes no other. */
function openBeside(path: string, hostFiles: HostFiles): UnseenFile | undefined {
  try {
    return openUnseen(path, hostFiles);
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    if (hasCode(cause, 'EACCES', 'EPERM', 'EROFS')) return undefined;
    throw error;
  }
}

/** A folder may take files and give none away: chattr(1), "append only". */
function removeUnseen(path: string): void {
  try {
    rmSync(fsPath(path), { force: true });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`tsvm image: ${path} is left, and cannot be removed: ${reason}\n`);
  }
}

/** What was not finished must not be taken for an image. */
function emptyFile(path: string): void {
  try {
    closeSync(openSync(fsPath(path), 'w'));
  } catch {
    // What led here is told.
  }
}

/** @throws TsvmError for what the host refuses */
function hostCall<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw cause instanceof TsvmError ? cause : cannotBeMade(path, cause);
  }
}

function cannotBeMade(path: string, cause: unknown): TsvmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  // The hidden name tells nobody anything.
  const shown = reason.replace(/, \w+ '.*$/s, '');
  return new TsvmError('file-unreadable', `${path || '""'} cannot be made: ${shown}`, { cause });
}
