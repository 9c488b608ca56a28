import { copyFile, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../../vmm/host/folders.ts';
import { type CacheEntry, cacheKey } from '../cache.ts';
import { packageVersion } from '../debian.ts';
import { buildModulesArchive } from './modules-archive.ts';

const RECIPE = ['../cpio.ts', 'load-modules.c', 'module-set.ts', 'modules-archive.ts'];

/**
 * Debian's cloud kernel as `scripts/setup.sh` has unpacked it, as `vmlinuz`, with the archive of its
 * modules, `modules.cpio`.
 * @throws Error if the package is not unpacked
 */
export async function prebuiltKernelEntry(): Promise<CacheEntry> {
  const root = join(cacheFolder() ?? '', 'cloud-kernel');
  const boot = join(root, 'boot');
  const kernel = (await readdir(boot).catch(() => [])).find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new Error(`${boot} has no kernel: run scripts/setup.sh`);
  const sources = RECIPE.map((name) => readFile(fileURLToPath(new URL(name, import.meta.url))));
  return {
    kind: 'prebuilt',
    key: cacheKey([kernel, await packageVersion('musl-dev'), ...(await Promise.all(sources))]),
    build: async (folder, scratch, progress) => {
      progress.begin(`Packing the modules of ${kernel.replace('vmlinuz-', 'Linux ')}`);
      await copyFile(join(boot, kernel), join(folder, 'vmlinuz'));
      await buildModulesArchive(root, join(folder, 'modules.cpio'), scratch);
      progress.end();
    },
  };
}
