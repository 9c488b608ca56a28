/**
 * A folder with content that is difficult for readers of file systems, and its comparison with what they
 * read.
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Inode } from '../../../vmm/loader/disk-boot/file-systems/file-system.ts';
import { Random } from '../random.ts';

const MIB = 2 ** 20;

export interface SampleTreeOptions {
  /** Without symbolic links, for FAT. */
  readonly links?: boolean;
  /** Number of files in the largest directory. */
  readonly manyFiles?: number;
}

/** Fills an empty folder. */
export function makeSampleTree(
  folder: string,
  { links = true, manyFiles = 1200 }: SampleTreeOptions = {},
): void {
  const random = new Random(7);
  const noise = (length: number) => Uint8Array.from({ length }, () => random.uint32() & 0xff);
  const boot = join(folder, 'boot');
  mkdirSync(join(boot, 'grub'), { recursive: true });
  writeFileSync(join(boot, 'vmlinuz-6.1.0-13-amd64'), noise(MIB + 123));
  writeFileSync(join(boot, 'text'), 'the same words again and again\n'.repeat(20_000));
  for (const length of [0, 1, 59, 60, 61, 100, 512, 4096, 4097]) {
    writeFileSync(join(boot, `file-of-${length}`), noise(length));
  }
  const sparse = openSync(join(boot, 'sparse.img'), 'w');
  for (const at of [0, 70_000, 600_000, MIB, 5 * MIB]) writeSync(sparse, noise(5000), 0, 5000, at);
  closeSync(sparse);
  const many = join(boot, 'grub/many');
  mkdirSync(many);
  for (let index = 0; index < manyFiles; index++) {
    writeFileSync(join(many, `a file with a rather long name, number ${index}`), `${index}`);
  }
  writeFileSync(join(boot, 'Grüße, мир'), 'a name that is not ASCII');
  if (!links) return;
  symlinkSync('boot/vmlinuz-6.1.0-13-amd64', join(folder, 'vmlinuz'));
  symlinkSync('/boot/text', join(folder, 'absolute'));
  symlinkSync('../../../../boot/text', join(boot, 'climbing'));
  symlinkSync('circle-b', join(folder, 'circle-a'));
  symlinkSync('circle-a', join(folder, 'circle-b'));
  symlinkSync(`${'grub/../'.repeat(110)}text`, join(boot, 'long'));
  symlinkSync('x'.repeat(59), join(boot, 'link-of-59'));
  symlinkSync('x'.repeat(60), join(boot, 'link-of-60'));
}

/** Compares everything that a reader finds with a folder of the host. */
export function assertSameTree(inode: Inode, path: string): void {
  const stats = lstatSync(path);
  if (stats.isSymbolicLink()) {
    assert.equal(inode.kind, 'symlink', path);
    assert.equal(Buffer.from(inode.read(0, inode.sizeBytes)).toString(), readlinkSync(path));
  } else if (stats.isFile()) {
    assert.equal(inode.kind, 'file', path);
    assertContent(inode, readFileSync(path), path);
  } else {
    assert.equal(inode.kind, 'directory', path);
    const entries = inode.entries().filter(({ name }) => name !== 'lost+found');
    const names = readdirSync(path).filter((name) => name !== 'lost+found');
    assert.deepEqual(entries.map(({ name }) => name).sort(), names.sort(), path);
    for (const entry of entries) assertSameTree(entry.open(), join(path, entry.name));
  }
}

function assertContent(inode: Inode, expected: Buffer, path: string): void {
  assert.equal(inode.sizeBytes, expected.length, path);
  assert.ok(expected.equals(inode.read(0, expected.length)), `content of ${path}`);
  // A range that starts and ends inside blocks.
  const from = Math.floor(expected.length / 3) + 1;
  if (from >= expected.length) return;
  const length = Math.floor((expected.length - from) / 2);
  const part = expected.subarray(from, from + length);
  assert.ok(part.equals(inode.read(from, length)), `a part of ${path}`);
}
