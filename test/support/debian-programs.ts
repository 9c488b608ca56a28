/** A root disk with programs from Debian packages: compilers, interpreters, stress-ng. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { mkdtemp, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheKey } from '../../guest-images/cache.ts';
import { stageRootFiles } from '../../guest-images/rootfs/build-root-disk.ts';
import { packageRoot } from '../../vmm/util/package-root.ts';
import { unpackDebianPackage } from './debian-packages.ts';

const SOURCES = join(packageRoot(), 'test/support/guest-programs/debian');
const SIZE_MIB = 512;

/** With the libraries that these programs load, but without other dependencies of the packages. */
const PACKAGES = [
  ...['libc6', 'libgcc-s1', 'libstdc++6', 'libcrypt1', 'zlib1g', 'liblzma5', 'libzstd1'],
  ...['libexpat1', 'libffi8', 'libssl3', 'libmd0', 'libbsd0'],
  ...['perl-base', 'python3.11-minimal', 'libpython3.11-minimal', 'libpython3.11-stdlib'],
  ...['gcc-12', 'cpp-12', 'libgcc-12-dev', 'libgmp10', 'libisl23', 'libmpc3', 'libmpfr6'],
  ...['binutils', 'binutils-x86-64-linux-gnu', 'libbinutils', 'libctf0', 'libctf-nobfd0'],
  ...['libjansson4', 'libgprofng0', 'libc6-dev', 'linux-libc-dev'],
  ...['stress-ng', 'libapparmor1', 'libegl1', 'libglvnd0', 'libgbm1', 'libdrm2', 'libgles2'],
  ...['libwayland-server0', 'libipsec-mb1', 'libjpeg62-turbo', 'libjudydebian1', 'libkmod2'],
  ...['libsctp1', 'libxxhash0'],
];

/** Documentation and the like, which would fill the disk. */
const UNUSED = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/lintian'];

/** The disk's path. It is created once, from packages that are downloaded once. Do not change it. */
export async function debianProgramsDisk(): Promise<string> {
  const script = readFileSync(join(SOURCES, 'programs.sh'));
  const program = readFileSync(join(SOURCES, 'sum.c'));
  const key = cacheKey([PACKAGES.join(), process.version, script, program]);
  const target = join(packageRoot(), `build/debian-programs-${key}.ext4`);
  if (existsSync(target)) return target;
  const scratch = await mkdtemp(join(tmpdir(), 'tsvm-debian-'));
  const root = join(scratch, 'root');
  const image = `${target}.new`;
  try {
    mkdirSync(root);
    await stageRootFiles(root);
    for (const name of PACKAGES) unpackDebianPackage(name, root);
    for (const path of UNUSED) rmSync(join(root, path), { recursive: true, force: true });
    const folder = join(root, 'usr/lib/debian-programs');
    mkdirSync(folder);
    copyFileSync(join(SOURCES, 'programs.sh'), join(folder, 'programs.sh'));
    copyFileSync(join(SOURCES, 'sum.c'), join(folder, 'sum.c'));
    copyFileSync(process.execPath, join(root, 'usr/bin/node'));
    await writeFile(image, '');
    await truncate(image, SIZE_MIB * 2 ** 20);
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', root, image]);
    renameSync(image, target);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    rmSync(image, { force: true });
  }
  return target;
}
