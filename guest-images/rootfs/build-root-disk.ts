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

/** Empty folders on the disk: mount points and folders for the user's files. */
const EMPTY_FOLDERS = [
  { path: 'dev', mode: 0o755 },
  // Where the modules of a prebuilt kernel are offered.
  { path: 'lib', mode: 0o755 },
  { path: 'lib/modules', mode: 0o755 },
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
  /** Absolute path in the guest. Missing folders are created, an existing file is replaced. */
  readonly path: string;
  /** Permission bits, for example `0o755`. */
  readonly mode: number;
  /** Path of the source file on the host; symbolic links are followed. */
  readonly source: string;
}

export interface RootDiskOptions {
  /** Path of the image; an existing file is replaced. */
  readonly target: string;
  readonly extraFiles?: readonly ExtraFile[];
  /** Size of the disk in `MiB`; the image file is sparse. */
  readonly sizeMib?: number;
}

/**
 * Builds the default guest's root disk: a raw ext4 image with busybox, tsvm's init and the files in
 * `files/`. Needs neither mounts nor privileges; the same inputs give the same bytes.
 * @throws Error of the failed tool (gcc, mke2fs, debugfs) or of the file system
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
 * Puts the root disk's files into the empty folder `root`, owned by the caller. Also used to pack the
 * same files in another format, such as cpio.
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
  // Written by the DHCP client; the root file system may be read-only.
  await symlink('/run/resolv.conf', join(root, 'etc/resolv.conf'));
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

/** Sets the modes of the staged files, independent of the umask of caller and clone. */
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
