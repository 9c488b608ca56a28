import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../vmm/util/package-root.ts';

const CACHE = join(packageRoot(), 'build/debian-packages');

/** Unpacks a Debian package, which is downloaded once. */
export function unpackDebianPackage(name: string, target: string): void {
  mkdirSync(CACHE, { recursive: true });
  mkdirSync(target, { recursive: true });
  const find = () => globSync(`${name}_*.deb`, { cwd: CACHE })[0];
  if (find() === undefined) {
    execFileSync('apt-get', ['download', '-qq', name], { cwd: CACHE, stdio: 'pipe' });
  }
  execFileSync('dpkg', ['-x', join(CACHE, find() ?? ''), target]);
}
