/** Kernels built by Debian, from the distribution's packages: guests that tsvm has not built. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../../vmm/host/folders.ts';

export type Flavour = 'cloud' | 'generic' | 'rt';

/** The highest version among names. */
function newest(names: readonly string[]): string | undefined {
  const byVersion = new Intl.Collator('en', { numeric: true });
  return names.toSorted(byVersion.compare).at(-1);
}

/** The newest package of a kernel that apt knows, for example of `6.1` and `cloud`. */
function packageOf(series: string, flavour: Flavour): string | undefined {
  const suffix = flavour === 'generic' ? '' : `-${flavour}`;
  const form = new RegExp(`^linux-image-${series}[.][0-9.+a-z-]*?[0-9]${suffix}-amd64$`);
  const names = execFileSync('apt-cache', ['pkgnames', `linux-image-${series}.`], {
    encoding: 'utf8',
  });
  return newest(names.split('\n').filter((name) => form.test(name)));
}

/** Downloads a package and passes the folder in which it is unpacked. */
function unpackPackage(name: string, scratch: string, use: (root: string) => void): void {
  const folder = mkdtempSync(`${scratch}-`);
  try {
    execFileSync('apt-get', ['download', '-q', name], { cwd: folder, stdio: 'pipe' });
    const [archive] = readdirSync(folder);
    if (archive === undefined) throw new Error(`${name}: apt-get downloaded nothing`);
    execFileSync('dpkg-deb', ['--extract', archive, 'root'], { cwd: folder, stdio: 'pipe' });
    use(join(folder, 'root'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a test needs, or the reason why it is not available. */
export type Fetched<T> = T | { readonly missing: string };

/** The cache folder of the packages' files, or the reason why there is none. */
function keep<T>(name: string, use: (path: string) => T): Fetched<T> {
  const cache = cacheFolder();
  if (cache === undefined) return { missing: 'the user has no cache folder' };
  const folder = join(cache, 'stock-kernels');
  mkdirSync(folder, { recursive: true });
  try {
    return use(join(folder, name));
  } catch (error) {
    return { missing: `${name}: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/**
 * The path of a stock kernel, which is kept in the user's cache, or the reason why it is not available:
 * apt does not know it or cannot download it.
 */
export function stockKernel(
  series: string,
  flavour: Flavour,
): Fetched<{ readonly kernelPath: string }> {
  const name = packageOf(series, flavour);
  if (name === undefined) return { missing: `apt has no Linux ${series} (${flavour})` };
  return keep(name, (kernelPath) => {
    if (existsSync(kernelPath)) return { kernelPath };
    unpackPackage(name, kernelPath, (root) => {
      const boot = join(root, 'boot');
      const kernel = readdirSync(boot).find((file) => file.startsWith('vmlinuz-'));
      if (kernel === undefined) throw new Error('there is no kernel in it');
      renameSync(join(boot, kernel), kernelPath);
    });
    return { kernelPath };
  });
}

/** Debian's installer for serial consoles: a kernel and an initial RAM disk of 40 MB, packed. */
export function installer(): Fetched<{ readonly kernelPath: string; readonly initrdPath: string }> {
  const name = 'debian-installer-12-netboot-amd64';
  const images = 'usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64';
  return keep(name, (folder) => {
    if (!existsSync(folder)) {
      unpackPackage(name, folder, (root) => renameSync(join(root, images), folder));
    }
    return { kernelPath: join(folder, 'linux'), initrdPath: join(folder, 'initrd.gz') };
  });
}
