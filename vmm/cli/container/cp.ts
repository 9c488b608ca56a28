import {
  closeSync,
  createReadStream,
  lstatSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { PathStat } from '../../container/agent/agent.ts';
import type { ArchivePipe } from '../../container/agent/agent-socket.ts';
import { TsvmError } from '../../errors.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import { isTerminal } from '../output-descriptor.ts';
import { printMessage } from '../standard-streams.ts';
import { writeToStdout } from './archive-output.ts';
import { openContainers } from './containers.ts';
import { type ContainerRootFiles, withContainerRoot } from './files/container-root.ts';
import {
  asksContents,
  assertsFolder,
  type CopyEnd,
  containerPath,
  endsWithSeparator,
  parseCopyEnd,
  splitPath,
} from './files/copy-path.ts';
import { packArchive, unpackArchive } from './files/host-tar.ts';
import { flag } from './option-values.ts';
import { humanSize } from './units.ts';
import { UsageError, type Verb } from './verb.ts';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const STANDARD_INPUT = 0;

interface CopyFlags {
  readonly archive: boolean;
  readonly followLink: boolean;
}

const STDOUT = 1;
const STDERR = 2;

export const cpVerb: Verb = {
  usage: 'cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-',
  argumentsMin: 2,
  argumentsMax: 2,
  help: `
Also: tsvm cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH. With "-", a tar archive is read from standard input
or written to standard output. SRC_PATH/. means what is in the folder. Containers need not run.

Examples:
  tsvm cp web:/var/log/app.log .
  tsvm cp ./site/. web:/www
  tar -c site | tsvm cp - web:/srv`,
  addOptions: (command) =>
    command
      .option('-a, --archive', 'keep owners (user and group IDs)')
      .option('-L, --follow-link', 'follow a symbolic link in SRC_PATH')
      .option('-q, --quiet', 'do not print what was copied'),
  run: async ([source = '', destination = ''], options) => {
    if (source === '') throw new TsvmError('invalid-config', 'source can not be empty');
    if (destination === '') throw new TsvmError('invalid-config', 'destination can not be empty');
    const from = parseCopyEnd(source);
    const to = parseCopyEnd(destination);
    const flags = { archive: flag(options, 'archive'), followLink: flag(options, 'followLink') };
    if (from.kind === 'container' && to.kind === 'stream') {
      return await withRoot(from.container, (root) => copyToStdout(root, from, flags));
    }
    const bytes = await copy(from, to, flags);
    if (!flag(options, 'quiet') && isTerminal(STDERR)) {
      const shown = to.kind === 'container' ? `${to.container}:${to.path}` : destination;
      printMessage(`Successfully copied ${humanSize(bytes, 3)} to ${shown}\n`);
    }
    return 0;
  },
};

/** @returns bytes of the archive */
async function copy(from: CopyEnd, to: CopyEnd, flags: CopyFlags): Promise<number> {
  if (from.kind === 'container' && to.kind === 'container') {
    throw new TsvmError('invalid-config', 'copying between containers is not supported');
  }
  const name =
    from.kind === 'container' ? from.container : to.kind === 'container' ? to.container : '';
  return await withRoot(name, async (root) => {
    if (from.kind === 'container' && to.kind === 'host') {
      return await copyOut(root, name, containerPath(from.path), to, flags);
    }
    if (from.kind !== 'container' && to.kind === 'container') {
      return await copyIn(root, name, from, containerPath(to.path), flags);
    }
    return 0;
  });
}

async function withRoot(
  name: string,
  work: (root: ContainerRootFiles) => Promise<number>,
): Promise<number> {
  if (name === '') throw new UsageError('must specify at least one container source');
  const store = openContainers();
  return await withContainerRoot(store, await store.find(name), work);
}

function isFolder(stat: PathStat | undefined): boolean {
  return stat !== undefined && (stat.mode & S_IFMT) === S_IFDIR;
}

function isLink(stat: PathStat | undefined): boolean {
  return stat !== undefined && (stat.mode & S_IFMT) === S_IFLNK;
}

function notFound(container: string, path: string): TsvmError {
  return new TsvmError(
    'container-failed',
    `Could not find the file ${path} in container ${container}`,
  );
}

/** The file or folder that is meant in a container. */
async function findSource(
  root: ContainerRootFiles,
  name: string,
  given: string,
  followLink: boolean,
): Promise<{ path: string; stat: PathStat }> {
  let path = given;
  let stat = await root.stat(withoutEnd(path));
  if (isLink(stat) && (followLink || assertsFolder(path))) {
    path = stat?.linkTarget ?? path;
    stat = await root.stat(path);
  }
  if (stat === undefined) throw notFound(name, given);
  if (assertsFolder(given) && !isFolder(stat)) {
    throw new TsvmError('container-failed', `${given}: not a directory`);
  }
  return { path, stat };
}

/** @returns the exit code */
async function copyToStdout(
  root: ContainerRootFiles,
  from: Extract<CopyEnd, { kind: 'container' }>,
  { followLink }: CopyFlags,
): Promise<number> {
  const { path } = await findSource(root, from.container, containerPath(from.path), followLink);
  if (isTerminal(STDOUT)) {
    throw new TsvmError('invalid-config', 'cowardly refusing to copy to a terminal');
  }
  const { fd, done } = await root.read(withoutEnd(path));
  const exitCode = await writeToStdout(createReadStream('', { fd }));
  if (exitCode === 0) await done;
  return exitCode;
}

/** @returns bytes of the archive */
async function copyOut(
  root: ContainerRootFiles,
  name: string,
  given: string,
  to: Extract<CopyEnd, { kind: 'host' }>,
  { archive: keepOwners, followLink }: CopyFlags,
): Promise<number> {
  const { path, stat } = await findSource(root, name, given, followLink);
  // The destination is checked before anything is read.
  const target = hostTarget(
    to.path,
    stat,
    given,
    followLink ? basename(withoutEnd(given)) : undefined,
  );
  return await unpackTo(() => root.read(withoutEnd(path)), target, keepOwners);
}

/** Where a copy goes on the host. */
type HostTarget =
  /** Into an existing folder. */
  | { readonly kind: 'into'; readonly folder: string; readonly stripParts: number }
  /** Under another name, in place of a file that has it. */
  | { readonly kind: 'as'; readonly path: string; readonly name: string };

function hostStat(path: string): Stats | undefined {
  try {
    return statSync(fsPath(path));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    if (hasCode(error, 'ENOTDIR'))
      throw new TsvmError('invalid-config', `${path}: not a directory`);
    throw error;
  }
}

/** @param as another name than that in the container, for a link that was followed */
function hostTarget(
  destination: string,
  source: PathStat,
  given: string,
  as: string | undefined,
): HostTarget {
  const path = resolve(destination);
  const existing = hostStat(path);
  if (existing?.isDirectory()) {
    if (isFolder(source)) {
      if (asksContents(given)) return { kind: 'into', folder: path, stripParts: 1 };
      if (as !== undefined && as !== source.name) {
        return madeFolder(join(path, as));
      }
      return { kind: 'into', folder: path, stripParts: 0 };
    }
    const name = as ?? source.name;
    if (hostStat(join(path, name))?.isDirectory() === true) {
      throw new TsvmError(
        'invalid-config',
        `cannot overwrite directory "${join(path, name)}" with a file`,
      );
    }
    return { kind: 'as', path: join(path, name), name: source.name };
  }
  if (isFolder(source)) {
    if (existing !== undefined)
      throw new TsvmError('invalid-config', 'cannot copy a directory to a file');
    checkParent(path);
    return madeFolder(path, source.mode & 0o777);
  }
  if (assertsFolder(destination)) {
    throw new TsvmError(
      'invalid-config',
      existing === undefined
        ? `destination "${destination}" directory does not exist`
        : `${destination}: not a directory`,
    );
  }
  checkParent(path);
  return { kind: 'as', path, name: source.name };
}

function madeFolder(path: string, mode = 0o755): HostTarget {
  makeFolders(path, mode);
  return { kind: 'into', folder: path, stripParts: 1 };
}

function checkParent(path: string): void {
  if (hostStat(dirname(path))?.isDirectory() === true) return;
  throw new TsvmError(
    'invalid-config',
    `invalid output path: directory "${dirname(path)}" does not exist`,
  );
}

async function unpackTo(
  read: () => Promise<ArchivePipe>,
  target: HostTarget,
  keepOwners: boolean,
): Promise<number> {
  if (target.kind === 'into') {
    return await unpackArchive(await read(), { ...target, keepOwners });
  }
  // Beside the destination, so that it can be renamed.
  const folder = mkdtempSync(join(dirname(target.path), '.tsvm-cp-'));
  try {
    const bytes = await unpackArchive(await read(), { folder, stripParts: 0, keepOwners });
    const made = join(folder, target.name);
    if (lstatSync(fsPath(made), { throwIfNoEntry: false }) === undefined) {
      throw new TsvmError('container-failed', `the container's archive has no ${target.name}`);
    }
    renameSync(fsPath(made), fsPath(target.path));
    return bytes;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Without `/.` and `/` at its end. */
function withoutEnd(path: string): string {
  return path.replace(/(?:\/\.?)+$/, '') || '/';
}

/** Where a copy goes in a container. */
interface ContainerTarget {
  readonly folder: string;
  /** The name there; undefined: the contents of the source go into the folder. */
  readonly name: string | undefined;
}

async function copyIn(
  root: ContainerRootFiles,
  container: string,
  from: Exclude<CopyEnd, { kind: 'container' }>,
  given: string,
  { archive: keepOwners, followLink }: CopyFlags,
): Promise<number> {
  const path = await followedTarget(root, given);
  const stat = await root.stat(withoutEnd(path));
  const options = { keepOwners, noOverwriteDirectory: true };
  if (from.kind === 'stream') {
    if (!isFolder(stat)) {
      throw new TsvmError(
        'invalid-config',
        stat === undefined
          ? notFound(container, given).message
          : `destination "${container}:${given}" must be a directory`,
      );
    }
    return await root.write(withoutEnd(path), STANDARD_INPUT, options);
  }
  const source = hostSource(from.path, followLink);
  const target = await containerTarget(root, container, source, {
    given,
    path: withoutEnd(path),
    stat,
  });
  const as = target.name ?? '.';
  const contents = target.name === undefined;
  const { fd, done } = source.isFolder
    ? packArchive(source.path, '.', as, contents)
    : packArchive(dirname(source.path), basename(source.path), as, false);
  try {
    const bytes = await root.write(target.folder, fd, options);
    await done;
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** A destination that is a link leads to its target. */
async function followedTarget(root: ContainerRootFiles, given: string): Promise<string> {
  const stat = await root.stat(withoutEnd(given));
  if (!isLink(stat) || stat === undefined) return given;
  return stat.linkTarget + (endsWithSeparator(given) ? '/' : '');
}

interface HostSource {
  readonly path: string;
  readonly name: string;
  readonly isFolder: boolean;
  readonly contents: boolean;
}

function hostSource(given: string, followLink: boolean): HostSource {
  try {
    const absolute = resolve(given);
    const follows = followLink || assertsFolder(given);
    const path = follows ? realpathSync(fsPath(absolute)).toString() : absolute;
    const isFolder = lstatSync(fsPath(path)).isDirectory();
    if (assertsFolder(given) && !isFolder) {
      throw new TsvmError('file-unreadable', `${given}: not a directory`);
    }
    return { path, name: basename(absolute), isFolder, contents: asksContents(given) };
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT', 'ENOTDIR', 'EACCES')) throw cause;
    const reason = hasCode(cause, 'ENOENT') ? 'no such file or directory' : String(cause);
    throw new TsvmError('file-unreadable', `lstat ${given}: ${reason}`, { cause });
  }
}

async function containerTarget(
  root: ContainerRootFiles,
  container: string,
  source: HostSource,
  target: { readonly given: string; readonly path: string; readonly stat: PathStat | undefined },
): Promise<ContainerTarget> {
  const { given, path, stat } = target;
  if (stat !== undefined) {
    if (isFolder(stat)) {
      if (source.isFolder && source.contents) return { folder: path, name: undefined };
      return { folder: path, name: source.name };
    }
    if (source.isFolder) {
      throw new TsvmError('invalid-config', 'cannot copy directory to a file');
    }
    if (assertsFolder(given)) throw new TsvmError('container-failed', `${given}: not a directory`);
  } else if (!source.isFolder && assertsFolder(given)) {
    throw new TsvmError('container-failed', `no such directory`);
  }
  const { folder, name } = splitPath(path);
  const parent = await root.stat(folder);
  if (parent === undefined) throw notFound(container, folder);
  return { folder, name };
}
