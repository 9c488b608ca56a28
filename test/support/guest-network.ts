/** Shared parts of the tests of networks with real guests. */
import { execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import type { ExtraFile } from '../../guest-images/rootfs/build-root-disk.ts';

/** Programs of the host and their libraries, for a root disk. */
export function hostPrograms(...paths: readonly string[]): ExtraFile[] {
  const libraries = paths.flatMap((path) => {
    const listing = execFileSync('ldd', [path], { encoding: 'utf8' });
    return Array.from(
      listing.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm),
      ([, library = '']) => library,
    );
  });
  return [...new Set([...paths, ...libraries])].map((path) => ({
    path,
    mode: 0o755,
    source: realpathSync(path),
  }));
}
