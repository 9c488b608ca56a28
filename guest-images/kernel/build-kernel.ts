import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { BuildProgress } from '../build-progress.ts';
import { type CacheEntry, cacheKey, guestCacheFolder } from '../cache.ts';
import { packageVersion } from '../debian.ts';
import { checkConfig } from './check-config.ts';

const run = promisify(execFile);

export const SOURCE_PACKAGE = 'linux-source-6.12';
const SOURCE_ARCHIVE = `/usr/src/${SOURCE_PACKAGE}.tar.xz`;
const CONFIG = fileURLToPath(new URL('tsvm.config', import.meta.url));

/** Increment this when a change of the recipe changes its result, to rebuild cached kernels. */
const RECIPE_VERSION = 1;

/**
 * Approximate number of lines that `make` prints, one per file it builds. Used only by the progress
 * bar.
 */
const EXPECTED_LINES = 2090;

/**
 * Folders that this kernel does not use, two thirds of the source. Kconfig and make still visit them,
 * so only their code is omitted.
 */
const UNUSED_FOLDERS = [
  'arch/(alpha|arc|arm|arm64|csky|hexagon|loongarch|m68k|microblaze|mips|nios2|openrisc|parisc)',
  'arch/(powerpc|riscv|s390|sh|sparc|um|xtensa)',
  'drivers/(accel|ata|bluetooth|clk|comedi|crypto|edac|gpio|gpu|greybus|hid|hwmon|hwtracing|iio)',
  'drivers/(infiniband|isdn|leds|md|media|mfd|mmc|mtd|nvme|phy|pinctrl|platform|power|regulator)',
  'drivers/(scsi|soc|spi|staging|target|thermal|usb|video)',
  'drivers/net/(ethernet|wireless)',
  'drivers/pci/controller',
  'fs/(bcachefs|btrfs|ceph|f2fs|gfs2|jfs|nfs|nfsd|ntfs3|ocfs2|smb|ubifs|xfs)',
  'samples',
  'sound',
  'tools/(perf|testing)',
].flatMap(expandAlternatives);

/** Files that tar omits: the code of those folders, and all documentation and device trees. */
const UNUSED_SOURCES = [
  ...UNUSED_FOLDERS.map((folder) => `${SOURCE_PACKAGE}/${folder}/*.[chS]`),
  ...['dts', 'dtsi', 'json', 'rs', 'rst', 'yaml'].map((suffix) => `*.${suffix}`),
];

/** Makes the build reproducible: independent of user, host, folder and time. */
const REPRODUCIBLE = [
  'KBUILD_BUILD_USER=tsvm',
  'KBUILD_BUILD_HOST=tsvm',
  'KBUILD_BUILD_VERSION=1',
  'KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970',
];

/** The default guest's kernel: `bzImage`, `vmlinux` (with symbols, for a debugger), `System.map`, `config`. */
export async function kernelEntry(): Promise<CacheEntry> {
  const version = await packageVersion(SOURCE_PACKAGE);
  const config = await readFile(CONFIG);
  return {
    kind: 'kernel',
    key: cacheKey([String(RECIPE_VERSION), version, config]),
    build: (folder, scratch, progress) => buildKernel(folder, scratch, version, progress),
  };
}

async function buildKernel(
  folder: string,
  source: string,
  version: string,
  progress: BuildProgress,
): Promise<void> {
  progress.begin(`Unpacking Debian's Linux ${version}`);
  await unpackSource(source);
  progress.end();

  await run('make', ['-s', `KCONFIG_ALLCONFIG=${CONFIG}`, 'allnoconfig'], { cwd: source });
  checkConfig(await readFile(CONFIG, 'utf8'), await readFile(join(source, '.config'), 'utf8'));

  progress.begin('Compiling the default guest’s kernel (once, some minutes)');
  await compile(source, progress);
  progress.end();

  await Promise.all([
    copyFile(join(source, 'arch/x86/boot/bzImage'), join(folder, 'bzImage')),
    copyFile(join(source, 'System.map'), join(folder, 'System.map')),
    copyFile(join(source, '.config'), join(folder, 'config')),
    run('strip', ['--strip-debug', '-o', join(folder, 'vmlinux'), join(source, 'vmlinux')]),
  ]);
}

async function unpackSource(folder: string): Promise<void> {
  const excludes = UNUSED_SOURCES.map((pattern) => `--exclude=${pattern}`);
  const decompress = `--use-compress-program=xz -T${availableParallelism()}`;
  await run('tar', [
    '-x',
    '-f',
    SOURCE_ARCHIVE,
    '-C',
    folder,
    decompress,
    '--strip-components=1',
    ...excludes,
  ]);
}

async function compile(source: string, progress: BuildProgress): Promise<void> {
  const compiler = (await isRunnable('ccache')) ? ['CC=ccache gcc'] : [];
  const make = spawn(
    'make',
    [`-j${availableParallelism()}`, ...REPRODUCIBLE, ...compiler, 'bzImage'],
    { cwd: source, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const logPath = join(guestCacheFolder(), 'kernel-build.log');
  const log = createWriteStream(logPath);
  make.stdout.pipe(log, { end: false });
  make.stderr.pipe(log, { end: false });
  let lines = 0;
  createInterface({ input: make.stdout }).on('line', () => {
    lines += 1;
    // If the estimate is too low, the bar waits at 99 %.
    progress.advance(Math.min(lines / EXPECTED_LINES, 0.99));
  });
  const [code] = await once(make, 'close');
  log.end();
  await finished(log);
  if (code !== 0) {
    const tail = (await readFile(logPath, 'utf8')).trimEnd().split('\n').slice(-20).join('\n');
    throw new Error(
      `The kernel did not compile (make exited with ${code}):\n${tail}\n` +
        `The complete output is in ${logPath}.`,
    );
  }
}

async function isRunnable(program: string): Promise<boolean> {
  return run(program, ['--version']).then(
    () => true,
    () => false,
  );
}

/** `a/(b|c)` → `a/b`, `a/c`. */
function expandAlternatives(pattern: string): string[] {
  const [prefix, alternatives] = pattern.split(/[()]/);
  return alternatives === undefined
    ? [pattern]
    : alternatives.split('|').map((alternative) => `${prefix}${alternative}`);
}
