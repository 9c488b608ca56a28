/**
 * Disks with Debian 12 as a user installs it, from Debian's packages: mmdebstrap makes a base system,
 * from which `build-image.sh` derives disks. Both are kept in the user's cache folder, the newest of each.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../../../vmm/host/folders.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import type { Fetched } from '../stock-kernels.ts';

export interface DebianVariant {
  /** The package of its kernel; the newest that apt knows. */
  readonly kernel: string;
  readonly fileSystem: 'ext4' | 'xfs' | 'btrfs';
  readonly loader: 'grub' | 'systemd-boot';
  readonly extraPackages?: readonly string[];
}

const BUILD_SCRIPT = join(packageRoot(), 'test/support/debian-guest/build-image.sh');
const BUILD_TIMEOUT_MS = 900_000;

const BASE_PACKAGES = [
  ...['systemd-sysv', 'udev', 'dbus', 'login', 'libpam-systemd', 'iproute2', 'procps', 'kmod'],
  ...[
    'initramfs-tools',
    'zstd',
    'e2fsprogs',
    'xfsprogs',
    'btrfs-progs',
    'dosfstools',
    'grub2-common',
  ],
  'grub-pc-bin',
];

/** What no test reads: documentation and translations take half of the time to unpack. */
const LEFT_OUT = ['man', 'doc', 'locale', 'info'];

function runBuilder(program: string, args: readonly string[]): void {
  try {
    execFileSync(program, args, { stdio: 'pipe', encoding: 'utf8', timeout: BUILD_TIMEOUT_MS });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${program} failed: ${`${stdout}\n${stderr}`.slice(-3000)}`, { cause: error });
  }
}

function digest(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 12);
}

/** Tests of another checkout may still use a disk with another recipe. */
const UNUSED_MS = 3_600_000;

/** Notes the use of a file, and removes older makes of the same: files of the same name but for the digest. */
function keepNewest(folder: string, stem: string, current: string): void {
  const now = Date.now();
  utimesSync(join(folder, current), now / 1000, now / 1000);
  for (const name of readdirSync(folder)) {
    if (name === current || !isMakeOf(stem, name)) continue;
    const path = join(folder, name);
    const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: now };
    if (now - mtimeMs > UNUSED_MS) rmSync(path, { force: true });
  }
}

/** True for `STEM-DIGEST.qcow2`, and for drafts that a killed process has left. */
function isMakeOf(stem: string, name: string): boolean {
  return name.startsWith(`${stem}-`) && /^[0-9a-f]{12}[.]/.test(name.slice(stem.length + 1));
}

function ensureBase(folder: string): string {
  const left = LEFT_OUT.map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
  const args = [
    ...['--variant=apt', '--mode=root', '--aptopt=Acquire::Languages "none"', ...left],
    ...[`--include=${BASE_PACKAGES.join(',')}`, 'bookworm'],
  ];
  const name = `base-${digest(...args)}.tar`;
  const base = join(folder, name);
  if (!existsSync(base)) {
    const draft = `${base}.${process.pid}.tar`;
    try {
      runBuilder('mmdebstrap', [...args, draft]);
      renameSync(draft, base);
    } finally {
      rmSync(draft, { force: true });
    }
  }
  keepNewest(folder, 'base', name);
  return base;
}

/**
 * The path of a variant's disk, to be used as a backing file only, or why there is none.
 * @throws Error with the output of the program that failed
 */
export function debianImage(variant: DebianVariant): Fetched<{ readonly path: string }> {
  if (process.getuid?.() !== 0) return { missing: 'making a Debian guest needs root' };
  const cache = cacheFolder();
  if (cache === undefined) return { missing: 'the user has no cache folder' };
  const folder = join(cache, 'debian-guests');
  const archives = join(folder, 'archives');
  mkdirSync(join(archives, 'partial'), { recursive: true });
  const base = ensureBase(folder);
  const { kernel, fileSystem, loader, extraPackages = [] } = variant;
  const packages = [kernel, ...extraPackages];
  const recipe = digest(base, readFileSync(BUILD_SCRIPT, 'utf8'), fileSystem, loader, ...packages);
  const stem = `${kernel}-${fileSystem}-${loader}`;
  const name = `${stem}-${recipe}.qcow2`;
  const path = join(folder, name);
  if (!existsSync(path)) {
    runBuilder('sh', [BUILD_SCRIPT, path, base, archives, fileSystem, loader, ...packages]);
  }
  keepNewest(folder, stem, name);
  return { path };
}
