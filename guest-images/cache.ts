import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { cacheFolder } from '../vmm/host/folders.ts';
import type { Progress } from './progress.ts';

/** The folder of every guest image built for this user, shared by all clones of the repository. */
export function guestCacheFolder(): string {
  const folder = cacheFolder();
  if (folder === undefined) {
    throw new Error('there is no folder for the guest’s files: set HOME or XDG_CACHE_HOME');
  }
  return join(folder, 'guests');
}

/** A short name for a set of inputs: the same inputs give the same key, on every machine. */
export function cacheKey(inputs: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const input of inputs) {
    hash.update(`${Buffer.byteLength(input)}:`).update(input);
  }
  return hash.digest('hex').slice(0, 16);
}

/** One image of the cache: the folder `<kind>-<key>` and how to fill it. */
export interface CacheEntry {
  readonly kind: 'kernel' | 'rootfs';
  readonly key: string;
  /** Makes the entry's files in `folder`; `scratch` is for the rest and is deleted afterwards. */
  build(folder: string, scratch: string, progress: Progress): Promise<void>;
}

/** The folder in which an entry is, or will be. It exists only when it is complete. */
export function entryFolder(entry: Pick<CacheEntry, 'kind' | 'key'>): string {
  return join(guestCacheFolder(), `${entry.kind}-${entry.key}`);
}

/**
 * Returns the entry's folder, building it first if it is not there. A build happens in a folder of
 * its own that takes the entry's name only at its end, so a broken-off one is never used, and under
 * a lock, so that two clones do not build the same thing at once.
 */
export async function ensureEntry(entry: CacheEntry, progress: Progress): Promise<string> {
  const folder = entryFolder(entry);
  if (existsSync(folder)) {
    return folder;
  }
  const cache = guestCacheFolder();
  await mkdir(cache, { recursive: true });
  const unlock = await lock(join(cache, 'lock'), progress);
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
  progress: Progress,
): Promise<void> {
  // We hold the lock, so whatever carries this prefix was left by a build that was killed.
  const names = await readdir(cache);
  const abandoned = names.filter((name) => name.startsWith('.building-'));
  await Promise.all(abandoned.map((name) => rm(join(cache, name), { recursive: true })));

  const workplace = await mkdtemp(join(cache, '.building-'));
  const result = join(workplace, 'result');
  const scratch = join(workplace, 'scratch');
  await Promise.all([mkdir(result), mkdir(scratch)]);
  try {
    await entry.build(result, scratch, progress);
    // Every VM on this account shares these files: nobody may write to them by mistake.
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
 * Takes the advisory lock on `path`, waiting as long as another process holds it; returns the
 * function that gives it up. Node has no flock(2), so a flock(1) that lives exactly as long as its
 * standard input is open holds it for us: it ends with us, however we end.
 */
async function lock(path: string, progress: Progress): Promise<() => void> {
  const waiting = setTimeout(() => progress.note('Waiting for another build to end ...'), 1000);
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
