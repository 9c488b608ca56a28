import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { cacheFolder } from '../vmm/host/folders.ts';
import { makeFolders } from '../vmm/host/make-folders.ts';
import type { BuildProgress } from './build-progress.ts';

/** The folder of the user's guest images, shared by all clones of the repository. */
export function guestCacheFolder(): string {
  const folder = cacheFolder();
  if (folder === undefined) {
    throw new Error('no cache folder for guest images: set HOME or XDG_CACHE_HOME');
  }
  return join(folder, 'guests');
}

/** A short hash of a set of inputs, the same on every machine. */
export function cacheKey(inputs: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const input of inputs) {
    hash.update(`${Buffer.byteLength(input)}:`).update(input);
  }
  return hash.digest('hex').slice(0, 16);
}

/** A cache entry: the folder `<kind>-<key>` and how to build its content. */
export interface CacheEntry {
  readonly kind: 'agent' | 'kernel' | 'prebuilt' | 'rootfs';
  readonly key: string;
  /** Builds the entry's files in `folder`. `scratch` is a temporary folder, deleted afterwards. */
  build(folder: string, scratch: string, progress: BuildProgress): Promise<void>;
}

/** The folder of an entry. It exists only if the entry is complete. */
export function entryFolder(entry: Pick<CacheEntry, 'kind' | 'key'>): string {
  return join(guestCacheFolder(), `${entry.kind}-${entry.key}`);
}

/**
 * Returns the entry's folder, after building it if it is missing. The build uses a separate folder,
 * which is renamed when complete, so that an aborted build is never used. A lock prevents two clones
 * from building entries of the same kind at once; others, such as a root disk while a kernel compiles,
 * do not wait for it.
 */
export async function ensureEntry(entry: CacheEntry, progress: BuildProgress): Promise<string> {
  const folder = entryFolder(entry);
  if (existsSync(folder)) {
    return folder;
  }
  const cache = guestCacheFolder();
  makeFolders(cache);
  const unlock = await lock(join(cache, `lock-${entry.kind}`), progress);
  try {
    if (!existsSync(folder)) {
      await buildEntry(entry, cache, folder, progress);
    }
  } finally {
    unlock();
  }
  return folder;
}

async function buildEntry(
  entry: CacheEntry,
  cache: string,
  folder: string,
  progress: BuildProgress,
): Promise<void> {
  // The lock of this kind is held, so folders with this prefix are left over from killed builds.
  const prefix = `.build-${entry.kind}-`;
  const names = await readdir(cache);
  const abandoned = names.filter((name) => name.startsWith(prefix));
  await Promise.all(abandoned.map((name) => rm(join(cache, name), { recursive: true })));

  const workplace = await mkdtemp(join(cache, prefix));
  const result = join(workplace, 'result');
  const scratch = join(workplace, 'scratch');
  await Promise.all([mkdir(result), mkdir(scratch)]);
  try {
    await entry.build(result, scratch, progress);
    // All VMs of the user share these files, so protect them from accidental writes.
    const files = await readdir(result);
    await Promise.all(files.map((file) => chmod(join(result, file), 0o444)));
    await rename(result, folder);
  } finally {
    await rm(workplace, { recursive: true, force: true });
  }
  const others = names.filter((name) => name.startsWith(`${entry.kind}-`));
  if (others.length > 0) {
    const paths = others.map((name) => join(cache, name)).join(' ');
    progress.note(`Older ${entry.kind} images are kept; to delete them: rm -r ${paths}`);
  }
}

/**
 * Takes the advisory lock on `path`, waiting for other processes. Returns a function that releases
 * it. Node has no flock(2), so a child process, flock(1), holds the lock until its standard input is
 * closed, which also happens when this process dies.
 */
async function lock(path: string, progress: BuildProgress): Promise<() => void> {
  const waiting = setTimeout(() => progress.note('Waiting for another build to finish ...'), 1000);
  const holder = spawn('flock', [path, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: holder.stdout });
  try {
    await Promise.race([
      once(lines, 'line'),
      once(holder, 'exit').then(([code]) => {
        throw new Error(`cannot lock ${path}: flock ended with ${code}`);
      }),
    ]);
  } finally {
    clearTimeout(waiting);
  }
  return () => {
    lines.close();
    holder.stdin.end();
  };
}
