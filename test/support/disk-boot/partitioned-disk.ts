/** Partitioned disks created by sgdisk and mkfs. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { emptyImage, run } from './file-system-images.ts';

const MIB = 2 ** 20;

export interface PartitionContent {
  /** An image of the partition's content. */
  readonly image: string;
  readonly sizeMib: number;
  /** sgdisk's type code: ef00 is the EFI system partition, ea00 XBOOTLDR. */
  readonly type?: string;
}

/** Makes a disk with a GPT. */
export function gptDisk(path: string, partitions: readonly PartitionContent[]): string {
  const total = partitions.reduce((sum, { sizeMib }) => sum + sizeMib, 0);
  emptyImage(path, total + 2);
  const options = partitions.flatMap(({ sizeMib, type = '8300' }, index) => {
    const number = index + 1;
    return ['-n', `${number}:0:+${sizeMib}M`, '-t', `${number}:${type}`];
  });
  run('sgdisk', ...options, path);
  const fd = openSync(path, 'r+');
  let at = MIB;
  for (const { image, sizeMib } of partitions) {
    writeSync(fd, readFileSync(image), 0, sizeMib * MIB, at);
    at += sizeMib * MIB;
  }
  closeSync(fd);
  return path;
}

/** An ext4 image with the content of a folder. */
export function ext4Image(path: string, sizeMib: number, folder: string, uuid?: string): string {
  emptyImage(path, sizeMib);
  const identity = uuid === undefined ? [] : ['-U', uuid];
  run('mke2fs', '-q', '-F', '-t', 'ext4', ...identity, '-d', folder, path);
  return path;
}

/** A FAT image with the content of a folder. */
export function fatImage(path: string, sizeMib: number, folder: string): string {
  emptyImage(path, sizeMib);
  run('mkfs.vfat', path);
  run('sh', '-c', `MTOOLS_SKIP_CHECK=1 mcopy -i '${path}' -s -Q '${folder}'/* ::/`);
  return path;
}
