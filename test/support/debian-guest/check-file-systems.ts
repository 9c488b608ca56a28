/** The file systems' own checkers, on the partitions of a disk image. */
import { execFileSync } from 'node:child_process';
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
  const raw = join(folder, 'checked.raw');
  const root = join(folder, 'checked-root.raw');
  await qemuImgOutput('convert', '-O', 'raw', path, raw);
  const offset = [`bs=${MIB}`, `skip=${ESP_MIB + 1}`, 'conv=sparse', 'status=none'];
  execFileSync('dd', [`if=${raw}`, `of=${root}`, ...offset]);
  const [program, ...args] = CHECKERS[type];
  execFileSync(program, [...args, root], { stdio: 'pipe' });
}
