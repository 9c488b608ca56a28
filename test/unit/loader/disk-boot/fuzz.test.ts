/**
 * Disks whose bytes are changed where the search reads them. Whatever is changed, a search ends soon,
 * with entries or with problems. `TSVM_DISK_BOOT_FUZZ_CASES` sets how many cases each disk has,
 * `TSVM_SEED` another seed.
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { TsvmError } from '../../../../vmm/errors.ts';
import {
  listEntries,
  readInitrds,
  readKernel,
} from '../../../../vmm/loader/disk-boot/disk-kernel.ts';
import type { DiskSource } from '../../../../vmm/loader/disk-boot/disk-source.ts';
import { searchDisk } from '../../../../vmm/loader/disk-boot/find-menus.ts';
import {
  cannotMount,
  emptyImage,
  fdDisk,
  run,
  whileMounted,
} from '../../../support/disk-boot/file-system-images.ts';
import { fatImage, gptDisk } from '../../../support/disk-boot/partitioned-disk.ts';
import { makeUki } from '../../../support/disk-boot/uki-maker.ts';
import { Random, seedFrom } from '../../../support/random.ts';

const CASES = Number(process.env['TSVM_DISK_BOOT_FUZZ_CASES'] ?? 60);
const SEED = seedFrom(process.env['TSVM_SEED'], 1);
/** A search of such a disk takes some milliseconds; an emulated host is some twenty times slower. */
const CASE_MS_MAX = 60_000;

const folder = mkdtempSync(join(tmpdir(), 'tsvm-fuzz-'));
after(() => rmSync(folder, { recursive: true }));

/** A system with everything that entries are found in. */
function makeSystem(name: string): string {
  const root = join(folder, name);
  const random = new Random(3);
  const kernel = Uint8Array.from({ length: 70_000 }, () => random.uint32() & 0xff);
  for (const path of [
    'boot/grub',
    'boot/loader/entries',
    'etc',
    'EFI/Linux',
    'boot/more',
    'boot/extlinux',
  ]) {
    mkdirSync(join(root, path), { recursive: true });
  }
  for (const version of ['6.1.0-9', '6.1.0-10']) {
    writeFileSync(join(root, `boot/vmlinuz-${version}`), kernel);
    writeFileSync(join(root, `boot/initrd.img-${version}`), 'text '.repeat(20_000));
    const lines = ['title Linux', `version ${version}`, 'sort-key x', 'options root=UUID=x ro'];
    lines.push(`linux /boot/vmlinuz-${version}`, `initrd /boot/initrd.img-${version}`, '');
    writeFileSync(join(root, `boot/loader/entries/${version}.conf`), lines.join('\n'));
  }
  for (let index = 0; index < 90; index++) writeFileSync(join(root, `boot/more/file ${index}`), '');
  const config = `if [ -s $prefix/grubenv ]; then load_env; fi
set default="\${saved_entry}"
function load { insmod $1; }
menuentry 'Linux' --id first { load ext2; linux /boot/vmlinuz-6.1.0-10 root=UUID=x "a b" ro
  initrd /boot/initrd.img-6.1.0-10
}
submenu 'More' --id more { for v in 9 10; do
  menuentry "Linux $v" --id old { linux /boot/vmlinuz-6.1.0-9 single; initrd /boot/initrd.img-6.1.0-9; }
done; }
blscfg`;
  writeFileSync(join(root, 'boot/grub/grub.cfg'), config);
  const extlinux =
    'default l\nlabel l\nlinux ../vmlinuz-6.1.0-9\ninitrd ../initrd.img-6.1.0-9\nappend ro\n';
  writeFileSync(join(root, 'boot/extlinux/extlinux.conf'), extlinux);
  const environment = '# GRUB Environment Block\nsaved_entry=more>old\n'.padEnd(1024, '#');
  writeFileSync(join(root, 'boot/grub/grubenv'), environment);
  writeFileSync(join(folder, 'linux'), kernel);
  makeUki(join(root, 'EFI/Linux/a.efi'), {
    linux: join(folder, 'linux'),
    cmdline: 'x',
    osrel: 'ID=x',
  });
  return root;
}

const system = makeSystem('system');

function mounted(type: string, options: readonly string[], mount: string) {
  return (path: string) => {
    emptyImage(path, type === 'xfs' ? 320 : 120);
    run(`mkfs.${type}`, '-q', ...options, path);
    whileMounted(path, mount, (target) => run('cp', '-a', `${system}/.`, target));
  };
}

function ext(...options: readonly string[]) {
  return (path: string) => {
    run('mke2fs', '-q', '-F', '-d', system, ...options, emptyImage(path, 8));
  };
}

interface FuzzedDisk {
  readonly make: (path: string) => void;
  readonly skip?: string | false;
}

const xfsSkip = cannotMount('XFS', (path) => run('mkfs.xfs', '-q', path));
const btrfsSkip = cannotMount('btrfs', (path) => run('mkfs.btrfs', '-q', path));

const DISKS: Readonly<Record<string, FuzzedDisk>> = {
  ext2: { make: ext('-t', 'ext2', '-b', '1024') },
  ext4: { make: ext('-t', 'ext4') },
  'ext4 with inline data and meta_bg': {
    make: ext('-t', 'ext4', '-I', '512', '-O', 'inline_data,meta_bg,^resize_inode'),
  },
  FAT16: { make: (path) => fatImage(path, 8, system) },
  FAT32: {
    make: (path) => {
      run('mkfs.vfat', '-F', '32', '-s', '1', emptyImage(path, 40));
      run('sh', '-c', `MTOOLS_SKIP_CHECK=1 mcopy -i '${path}' -s -Q '${system}'/* ::/`);
    },
  },
  XFS: { make: mounted('xfs', [], ''), skip: xfsSkip },
  'XFS, blocks of 1 KiB': { make: mounted('xfs', ['-b', 'size=1024'], ''), skip: xfsSkip },
  btrfs: { make: mounted('btrfs', ['-n', '4096'], ''), skip: btrfsSkip },
  'btrfs with zlib': { make: mounted('btrfs', [], 'compress-force=zlib'), skip: btrfsSkip },
  'btrfs with lzo': { make: mounted('btrfs', [], 'compress-force=lzo'), skip: btrfsSkip },
  'btrfs with zstd': { make: mounted('btrfs', [], 'compress-force=zstd'), skip: btrfsSkip },
  'GPT with an EFI system partition': {
    make: (path) => {
      const image = fatImage(join(folder, 'esp'), 8, system);
      gptDisk(path, [{ image, sizeMib: 8, type: 'ef00' }]);
    },
  },
};

/** A disk that notes where it is read, and has some bytes changed. */
class ChangedDisk implements DiskSource {
  readonly sizeBytes: number;
  readonly reads: { readonly offset: number; readonly length: number }[] = [];
  readonly changes = new Map<number, number>();
  readonly #base: DiskSource;

  constructor(base: DiskSource) {
    this.#base = base;
    this.sizeBytes = base.sizeBytes;
  }

  readSync(offset: number, target: Uint8Array): void {
    this.reads.push({ offset, length: target.length });
    this.#base.readSync(offset, target);
    for (const [at, value] of this.changes) {
      if (at >= offset && at < offset + target.length) target[at - offset] = value;
    }
  }
}

/** Searches a disk and reads all that it offers. Returns what it found. */
function searchAll(disk: DiskSource): string[] {
  const search = searchDisk(disk);
  const listed = listEntries(search);
  for (const { entry } of listed) {
    try {
      readKernel(entry.kernel);
      readInitrds(entry.initrds);
    } catch (error) {
      assertInvalid(error);
    }
  }
  return listed.map(({ entry }) => entry.id);
}

function assertInvalid(error: unknown): void {
  if (!(error instanceof TsvmError) || error.code !== 'invalid-disk') throw error;
}

/** Values that structures break at. */
const VALUES = [0, 1, 0x7f, 0x80, 0xff];

/** A byte of what is read, rarely a zero, as most of them are unused. */
function pickByte(random: Random, base: DiskSource, reads: ChangedDisk['reads']): number {
  const byte = new Uint8Array(1);
  for (let tries = 20; ; tries--) {
    const { offset, length } = random.pick(reads);
    // Structures are at the start of what is read, mostly.
    const at = offset + random.below(random.chance(0.5) ? Math.min(length, 256) : length);
    base.readSync(at, byte);
    if (byte[0] !== 0 || tries === 0) return at;
  }
}

function changeDisk(random: Random, base: DiskSource, reads: ChangedDisk['reads']): ChangedDisk {
  const disk = new ChangedDisk(base);
  for (let count = random.between(1, 12); count > 0; count--) {
    const at = pickByte(random, base, reads);
    const width = random.pick([1, 1, 2, 4, 8]);
    const value = random.chance(0.6) ? random.pick(VALUES) : random.below(256);
    for (let byte = at; byte < at + width; byte++) disk.changes.set(byte, value);
  }
  return disk;
}

for (const [name, { make, skip = false }] of Object.entries(DISKS)) {
  test(`${name}: changed bytes make entries or problems, soon`, { skip }, () => {
    const path = join(folder, 'disk');
    rmSync(path, { force: true });
    make(path);
    const fd = openSync(path, 'r');
    try {
      const base = fdDisk(fd, statSync(path).size);
      const whole = new ChangedDisk(base);
      assert.notDeepEqual(searchAll(whole), [], 'the disk as it was made has entries');
      const random = new Random(SEED);
      for (let index = 0; index < CASES; index++) {
        const disk = changeDisk(random.fork(), base, whole.reads);
        const start = performance.now();
        try {
          searchAll(disk);
        } catch (error) {
          const changes = JSON.stringify([...disk.changes]);
          throw new Error(`case ${index} of seed ${SEED}: ${changes}`, { cause: error });
        }
        const took = performance.now() - start;
        assert.ok(took < CASE_MS_MAX, `case ${index} of seed ${SEED} takes ${took} ms`);
      }
    } finally {
      closeSync(fd);
    }
  });
}
