import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { emptyImage } from '../support/disk-boot/file-system-images.ts';
import type { Benchmark, Contestant } from './benchmark.ts';
import { runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

const SIZE_MIB = 10 * 1024;
const MIB = 2 ** 20;
const KERNELS = 3;
/** In directories of a thousand, as /usr has many. */
const OTHER_FILES = 20_000;

function makeTree(root: string): void {
  mkdirSync(join(root, 'boot/grub'), { recursive: true });
  mkdirSync(join(root, 'etc'));
  const entries: string[] = [];
  for (let index = 0; index < KERNELS; index++) {
    const version = `6.1.0-${index}-amd64`;
    writeFileSync(join(root, `boot/vmlinuz-${version}`), new Uint8Array(8 * MIB).fill(index + 1));
    writeFileSync(
      join(root, `boot/initrd.img-${version}`),
      new Uint8Array(30 * MIB).fill(index + 1),
    );
    entries.push(`menuentry 'Linux ${version}' {
      search --no-floppy --fs-uuid --set=root 01234567-89ab-cdef-0123-456789abcdef
      linux /boot/vmlinuz-${version} root=/dev/vda1 ro
      initrd /boot/initrd.img-${version}
    }`);
  }
  writeFileSync(join(root, 'boot/grub/grub.cfg'), entries.join('\n'));
  for (let index = 0; index < OTHER_FILES; index++) {
    const folder = join(root, `usr/${Math.floor(index / 1000)}`);
    if (index % 1000 === 0) mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `file-${index}`), '');
  }
}

/** A disk of 10 GiB with one partition, ext4. */
function makeDisk(folder: string): string {
  const disk = join(folder, 'disk-boot.raw');
  if (existsSync(disk)) return disk;
  const draft = `${disk}.new`;
  const tree = join(folder, 'disk-boot-tree');
  rmSync(tree, { recursive: true, force: true });
  makeTree(tree);
  emptyImage(draft, SIZE_MIB);
  execFileSync('sgdisk', ['-n', '1:0:0', draft], { stdio: 'ignore' });
  const uuid = ['-U', '01234567-89ab-cdef-0123-456789abcdef'];
  const place = ['-E', `offset=${MIB}`, '-d', tree, draft, `${(SIZE_MIB - 2) * 1024}k`];
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', ...uuid, ...place], { stdio: 'ignore' });
  rmSync(tree, { recursive: true });
  renameSync(draft, disk);
  return disk;
}

function makeQcow2(raw: string): string {
  const path = raw.replace(/raw$/, 'qcow2');
  if (existsSync(path)) return path;
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-c', raw, `${path}.new`]);
  renameSync(`${path}.new`, path);
  return path;
}

/** From exec to the end of a process that finds the boot entries of a disk of 10 GiB. */
export function diskBootBenchmark({ root, node, tsvm }: Workbench): Benchmark {
  const folder = join(root, 'build/bench');
  const search = (name: string, disk: () => string): Contestant => ({
    name,
    sample: async () => {
      const command = [tsvm, 'boot', '--disk', disk(), '--kernel-entry', 'list'] as const;
      const { stdout, endMs } = await runProcess(command);
      if (stdout.split('\n').length !== KERNELS + 2) throw new Error(`entries: ${stdout}`);
      return endMs;
    },
  });
  const floor: Contestant = {
    name: 'node -e 0',
    sample: async () => (await runProcess([node, '-e', '0'])).endMs,
  };
  return {
    name: 'finding the kernel on a disk of 10 GiB',
    unit: 'ms',
    contestants: [
      search('raw', () => makeDisk(folder)),
      search('qcow2, compressed', () => makeQcow2(makeDisk(folder))),
      floor,
    ],
    comparisons: [
      { of: 'raw', against: floor.name, as: 'difference', atMost: 50 },
      { of: 'qcow2, compressed', against: floor.name, as: 'difference', atMost: 50 },
    ],
  };
}
