/** The file systems' own checkers, on the partitions of a disk image. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { qemuImgOutput } from '../qemu-img.ts';
import type { DebianVariant } from './debian-image.ts';

const MIB = 2 ** 20;
const ESP_MIB = 200;

const CHECKERS: Record<DebianVariant['fileSystem'], readonly [string, ...string[]]> = {
  ext4: ['e2fsck', '-fn'],
  xfs: ['xfs_repair', '-n'],
  btrfs: ['btrfs', 'check', '--readonly'],
};

/** Copies the root partition of a disk of `build-image.sh` into a file of the folder. */
export async function extractRoot(path: string, folder: string): Promise<string> {
  const raw = join(folder, 'disk.raw');
  const root = join(folder, 'root.raw');
  await qemuImgOutput('convert', '-O', 'raw', path, raw);
  const offset = [`bs=${MIB}`, `skip=${ESP_MIB + 1}`, 'conv=sparse', 'status=none'];
  execFileSync('dd', [`if=${raw}`, `of=${root}`, ...offset]);
  rmSync(raw);
  return root;
}

/**
 * Checks the image and, after a clean unmount, the root partition without repairing anything.
 * @throws Error with the checker's output when it finds fault
 */
export async function checkDisk(
  path: string,
  type: DebianVariant['fileSystem'],
  folder: string,
): Promise<void> {
  await qemuImgOutput('check', '-q', path);
  const root = await extractRoot(path, folder);
  const [program, ...args] = CHECKERS[type];
  execFileSync(program, [...args, root], { stdio: 'pipe' });
}
