/**
 * File system images created by the standard tools and the kernel, which are the oracle for tsvm's
 * readers.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { DiskReader, type DiskSource, Volume } from '../../../vmm/loader/disk-boot/disk-source.ts';
import type { FileSystem } from '../../../vmm/loader/disk-boot/file-systems/file-system.ts';
import { openFileSystem } from '../../../vmm/loader/disk-boot/file-systems/open-file-system.ts';

const MIB = 2 ** 20;

/** Runs a program silently. If it fails, the error contains its messages. */
export function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** An empty, sparse file. */
export function emptyImage(path: string, sizeMib: number): string {
  writeFileSync(path, '');
  truncateSync(path, sizeMib * MIB);
  return path;
}

/** Mounts an image on a folder while `use` runs. Needs root and a kernel with the file system. */
export function whileMounted(image: string, options: string, use: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-mount-'));
  try {
    run('mount', '-o', `loop${options === '' ? '' : `,${options}`}`, image, folder);
    try {
      use(folder);
    } finally {
      run('umount', folder);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Why this kernel cannot mount a kind of file system; false if it can. */
export function cannotMount(type: string, make: (path: string) => void): string | false {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-mount-test-'));
  try {
    const image = emptyImage(join(folder, 'image'), 320);
    make(image);
    whileMounted(image, '', () => {});
    return false;
  } catch (error) {
    return `this process cannot mount ${type}: ${error instanceof Error ? error.message : error}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A file as a disk, closed after the test. */
export function fileDisk(test: TestContext, path: string): DiskSource {
  const fd = openSync(path, 'r');
  test.after(() => closeSync(fd));
  return fdDisk(fd, Number(run('stat', '-c', '%s', path)));
}

export function fdDisk(fd: number, sizeBytes: number): DiskSource {
  return {
    sizeBytes,
    readSync: (offset, target) => {
      target.fill(0);
      readSync(fd, target, 0, target.length, offset);
    },
  };
}

export function bytesDisk(bytes: Uint8Array): DiskSource {
  return {
    sizeBytes: bytes.length,
    readSync: (offset, target) => target.set(bytes.subarray(offset, offset + target.length)),
  };
}

/** The file system on a disk without partitions. */
export function openWhole(disk: DiskSource): FileSystem {
  const reader = new DiskReader(disk);
  const fileSystem = openFileSystem(new Volume(reader, 'the disk', 0, disk.sizeBytes));
  if (fileSystem === undefined) throw new Error('there is no file system');
  return fileSystem;
}
