import { execFile } from 'node:child_process';
import {
  chmod,
  copyFile,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { makeExt4 } from './ext4.ts';

const run = promisify(execFile);

const SKELETON = fileURLToPath(new URL('files', import.meta.url));
const INIT_SOURCE = fileURLToPath(new URL('init.c', import.meta.url));
const BUSYBOX = '/bin/busybox';
const DEFAULT_SIZE_MIB = 64;

/** Folders that are empty on the disk: mount points and places for the user's files. */
const EMPTY_FOLDERS = [
  { path: 'dev', mode: 0o755 },
  { path: 'mnt', mode: 0o755 },
  { path: 'proc', mode: 0o555 },
  { path: 'root', mode: 0o700 },
  { path: 'run', mode: 0o755 },
  { path: 'sys', mode: 0o555 },
  { path: 'tmp', mode: 0o1777 },
  { path: 'var', mode: 0o755 },
];

/** A file to add to the root disk, owned by root. */
export interface ExtraFile {
  /** Absolute path in the guest; missing folders are made, an existing file is replaced. */
  readonly path: string;
  /** Permission bits, for instance `0o755`. */
  readonly mode: number;
  /** Path of the file on the host whose content it gets (a symbolic link is followed). */
  readonly source: string;
}

export interface RootDiskOptions {
  /** Path of the image to make; an existing file is replaced. */
  readonly target: string;
  readonly extraFiles?: readonly ExtraFile[];
  /** Size of the disk in `MiB`; the image file is sparse. */
  readonly sizeMib?: number;
}

/**
 * Makes the default guest's root disk: a raw ext4 image of busybox, our init and the files in
 * `files/`. Mounts nothing and needs no privilege; the same inputs give the same bytes.
 * @throws Error of the tool that failed (gcc, mke2fs, debugfs) or of the file system.
 */
export async function buildRootDisk(options: RootDiskOptions): Promise<void> {
  const { target, extraFiles = [], sizeMib = DEFAULT_SIZE_MIB } = options;
  const staging = await mkdtemp(join(tmpdir(), 'tsvm-rootfs-'));
  try {
    await stageRootFiles(staging, extraFiles);
    await rm(target, { force: true });
    await writeFile(target, '');
    await truncate(target, sizeMib * 1024 * 1024);
    await makeExt4(target, staging);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/**
 * Lays out the root disk's files in the empty folder `root`; they still belong to whoever calls.
 * Besides `buildRootDisk`, whoever packs the same files otherwise, say as a cpio, can use it.
 */
export async function stageRootFiles(
  root: string,
  extraFiles: readonly ExtraFile[] = [],
): Promise<void> {
  await chmod(root, 0o755);
  await cp(SKELETON, root, { recursive: true });
  for (const { path, mode } of EMPTY_FOLDERS) {
    await mkdir(join(root, path));
    await chmod(join(root, path), mode);
  }
  await stageBusybox(root);
  await mkdir(join(root, 'sbin'), { recursive: true });
  await run('gcc', [
    '-std=gnu11',
    '-Os',
    '-s',
    '-static',
    '-o',
    join(root, 'sbin/init'),
    INIT_SOURCE,
  ]);
  for (const { path, mode, source } of extraFiles) {
    const copy = join(root, path);
    await mkdir(dirname(copy), { recursive: true });
    await rm(copy, { force: true });
    await copyFile(source, copy);
    await chmod(copy, mode);
  }
  await normalizeModes(root, new Set(extraFiles.map(({ path }) => join(root, path))));
}

async function stageBusybox(root: string): Promise<void> {
  const { stdout } = await run(BUSYBOX, ['--list-full']);
  for (const applet of stdout.trim().split('\n')) {
    const link = join(root, applet);
    await mkdir(dirname(link), { recursive: true });
    if (applet !== 'bin/busybox') {
      await symlink('/bin/busybox', link);
    }
  }
  await mkdir(join(root, 'bin'), { recursive: true });
  await copyFile(BUSYBOX, join(root, 'bin/busybox'));
  await chmod(join(root, 'bin/busybox'), 0o755);
}

/** Gives what we staged the modes it should have, whatever the caller's umask and the clone's. */
async function normalizeModes(root: string, keep: ReadonlySet<string>): Promise<void> {
  const own = new Set(EMPTY_FOLDERS.map(({ path }) => join(root, path)));
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isSymbolicLink() || keep.has(path) || own.has(path)) {
      continue;
    }
    const executable = entry.isDirectory() || ((await lstat(path)).mode & 0o100) !== 0;
    await chmod(path, executable ? 0o755 : 0o644);
  }
}
