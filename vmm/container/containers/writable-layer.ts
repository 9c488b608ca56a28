/**
 * What a container writes: a qcow2 image over an empty ext4 that all containers of one size share.
 * Both are made once; a new container gets a copy of the empty qcow2 image, a few hundred KiB, or of
 * one that has been mounted.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { createHostFile } from '../../backends/disk/file/host-file.ts';
import { createQcow2 } from '../../backends/disk/image/qcow2/create/create.ts';
import { TsvmError } from '../../errors.ts';
import { draftName, removeAbandonedDrafts } from '../../host/drafts.ts';
import { hostFiles } from '../../host/host-files.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { UPPER_UNUSED_MODE } from '../agent/protocol.ts';
import type { EmptyLayer } from '../warm-start/machine-shape.ts';
import type { ContainerFolders } from './container-folders.ts';

/**
 * The host's mke2fs.conf does not matter, so that the file system is the same everywhere. Without
 * checksums of groups, inode tables are complete: no thread of the guest's kernel initializes them.
 */
const FEATURES =
  'has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,large_file,' +
  'huge_file,dir_nlink,extra_isize,64bit';

/**
 * A guest that dies leaves a file system that its journal repairs. A container rarely has more files
 * than one per 64 KiB of the disk's size; fewer inodes are less to read at a mount.
 */
const MKE2FS_OPTIONS = [
  ...['-q', '-F', '-t', 'ext4', '-m', '0', '-b', '4096', '-I', '256', '-i', '65536'],
  ...['-J', 'size=16', '-O', FEATURES, '-E', 'lazy_itable_init=0,lazy_journal_init=0'],
];
const SIZE_MIN_BYTES = 64 * 2 ** 20;
const MIB = 2 ** 20;

/** @throws TsvmError `invalid-config` */
export function checkStorageSize(bytes: number): number {
  if (bytes >= SIZE_MIN_BYTES) return Math.ceil(bytes / MIB) * MIB;
  throw new TsvmError('invalid-config', `--storage-opt size: at least ${SIZE_MIN_BYTES / MIB}M`);
}

/**
 * Makes what the writable layers of new containers are copies of.
 * @throws TsvmError `store-failed` when mke2fs is missing or fails, `disk-io`
 */
export async function ensureEmptyLayer(
  { base }: ContainerFolders,
  sizeBytes: number,
): Promise<EmptyLayer> {
  const layer = {
    imagePath: join(base, `${sizeBytes}.qcow2`),
    fileSystemPath: join(base, `${sizeBytes}.ext4`),
  };
  if (!existsSync(layer.imagePath)) await makeEmptyLayer(base, sizeBytes, layer);
  return layer;
}

/** Makes the writable layer of a container that has none yet. @throws Error of node:fs */
export function copyLayer(imagePath: string, folders: ContainerFolders, id: string): void {
  const draft = join(folders.container(id), draftName());
  try {
    copyFileSync(imagePath, draft, constants.COPYFILE_FICLONE);
    renameSync(draft, folders.writable(id));
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

async function makeEmptyLayer(
  folder: string,
  sizeBytes: number,
  { imagePath, fileSystemPath }: EmptyLayer,
): Promise<void> {
  makeFolders(folder, 0o700);
  removeAbandonedDrafts(folder);
  if (!existsSync(fileSystemPath)) await makeEmptyFileSystem(folder, sizeBytes, fileSystemPath);
  const draft = join(folder, draftName());
  try {
    const file = createHostFile(draft, hostFiles());
    try {
      createQcow2(file, {
        sizeBytes,
        backing: { name: `../base/${basename(fileSystemPath)}`, format: 'raw' },
      });
    } finally {
      file.close();
    }
    renameSync(draft, imagePath);
  } finally {
    rmSync(draft, { force: true });
  }
}

async function makeEmptyFileSystem(folder: string, sizeBytes: number, path: string): Promise<void> {
  const draft = join(folder, draftName());
  const content = join(folder, draftName());
  try {
    const fd = openSync(draft, 'wx', 0o600);
    ftruncateSync(fd, sizeBytes);
    closeSync(fd);
    makeOverlayFolders(content);
    await runMke2fs(draft, content);
    renameSync(draft, path);
  } finally {
    rmSync(draft, { force: true });
    rmSync(content, { recursive: true, force: true });
  }
}

/** What every container's guest would make otherwise, and wait for its blocks. */
function makeOverlayFolders(folder: string): void {
  mkdirSync(folder);
  mkdirSync(join(folder, 'work'), { mode: 0o700 });
  mkdirSync(join(folder, 'upper'));
  chmodSync(join(folder, 'upper'), UPPER_UNUSED_MODE);
}

/** @param content a folder, for the root of the file system */
async function runMke2fs(path: string, content: string): Promise<void> {
  const child = spawn('mke2fs', [...MKE2FS_OPTIONS, '-d', content, path], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      MKE2FS_CONFIG: '/dev/null',
      PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`,
    },
  });
  const text = child.stderr.setEncoding('utf8').toArray();
  let code: number | null;
  try {
    [code] = (await once(child, 'exit')) as [number | null];
  } catch (cause) {
    throw new TsvmError(
      'store-failed',
      'mke2fs is needed once to make what containers write to: install the package e2fsprogs',
      { cause },
    );
  }
  if (code === 0) return;
  throw new TsvmError('store-failed', `mke2fs failed: ${(await text).join('').trim()}`);
}
