import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CacheEntry, cacheKey } from '../cache.ts';
import { packageVersion } from '../debian.ts';
import { buildRootDisk } from './build-root-disk.ts';

const RECIPE = fileURLToPath(new URL('.', import.meta.url));

/** The default guest's root disk, `rootfs.ext4`. The key covers every file in this folder. */
export async function rootDiskEntry(): Promise<CacheEntry> {
  const versions = ['busybox-static', 'e2fsprogs', 'libc6-dev'].map(packageVersion);
  return {
    kind: 'rootfs',
    key: cacheKey([...(await Promise.all(versions)), ...(await recipeFiles())]),
    build: async (folder, _scratch, progress) => {
      progress.begin('Building the default guest’s root disk');
      await buildRootDisk({ target: join(folder, 'rootfs.ext4') });
      progress.end();
    },
  };
}

/** Names and contents of the recipe's files, in a fixed order. */
async function recipeFiles(): Promise<(string | Uint8Array)[]> {
  const entries = await readdir(RECIPE, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const contents = await Promise.all(
    paths.map(async (path) => [path.slice(RECIPE.length), await readFile(path)]),
  );
  return contents.flat();
}
