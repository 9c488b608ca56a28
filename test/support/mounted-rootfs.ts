import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { writeRootfs } from '../../vmm/container/rootfs/build-rootfs.ts';

const UUID = Buffer.alloc(16, 7);

/** Writes the metadata image of layers. @returns its path */
export function writeMetadata(
  folder: string,
  layerPaths: readonly string[],
  data: 'referred' | 'copied' = 'referred',
): string {
  const path = join(folder, `${data}.erofs`);
  const fd = openSync(path, 'w+');
  try {
    writeRootfs(layerPaths, fd, UUID, data);
  } finally {
    closeSync(fd);
  }
  return path;
}

/** The disk of a machine: the metadata image and the layers, in one file. */
export function wholeDisk(folder: string, layerPaths: readonly string[]): string {
  const metadata = writeMetadata(folder, layerPaths);
  const disk = join(folder, 'disk.img');
  copyFileSync(metadata, disk);
  for (const path of layerPaths) {
    appendFileSync(disk, readFileSync(path));
    const { size } = statSync(disk);
    truncateSync(disk, Math.ceil(size / 512) * 512);
  }
  return disk;
}

/** Mounts a disk during `work`. */
export function withMounted<T>(folder: string, disk: string, work: (root: string) => T): T {
  const root = join(folder, 'mounted');
  mkdirSync(root, { recursive: true });
  execFileSync('mount', ['-t', 'erofs', '-o', 'loop,ro', disk, root], { stdio: 'pipe' });
  try {
    return work(root);
  } finally {
    execFileSync('umount', [root]);
  }
}

/** Writes archives as files. @returns their paths */
export function writeLayers(folder: string, layers: readonly Uint8Array[]): string[] {
  return layers.map((bytes, index) => {
    const path = join(folder, `layer-${index}.tar`);
    writeFileSync(path, bytes);
    return path;
  });
}
