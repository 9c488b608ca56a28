/** Entries of the cache that are built at the same time. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { BuildProgress } from '../../../guest-images/build-progress.ts';
import { type CacheEntry, ensureEntry, guestCacheFolder } from '../../../guest-images/cache.ts';
import { temporaryFolder } from '../../support/tsvm-process.ts';

const SILENT: BuildProgress = { begin: () => {}, advance: () => {}, end: () => {}, note: () => {} };
/** More than enough for a build that writes a file. */
const PATIENCE_MS = 60_000;

function ownCache(t: TestContext): string {
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = temporaryFolder(t);
  t.after(() => {
    if (before === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = before;
  });
  return guestCacheFolder();
}

/** An entry whose build goes on until it is let to end. */
class SlowEntry implements CacheEntry {
  readonly kind: CacheEntry['kind'];
  readonly key = '0123456789abcdef';
  builds = 0;
  readonly begun = Promise.withResolvers<void>();
  readonly end = Promise.withResolvers<void>();

  constructor(kind: CacheEntry['kind']) {
    this.kind = kind;
  }

  async build(folder: string): Promise<void> {
    this.builds++;
    this.begun.resolve();
    await this.end.promise;
    await writeFile(join(folder, 'file'), this.kind);
  }
}

test('a kernel that compiles keeps nobody from building a root disk', async (t) => {
  ownCache(t);
  const kernel = new SlowEntry('kernel');
  const compiling = ensureEntry(kernel, SILENT);
  await kernel.begun.promise;
  const rootfs = new SlowEntry('rootfs');
  rootfs.end.resolve();
  const late = AbortSignal.timeout(PATIENCE_MS);
  await Promise.race([
    ensureEntry(rootfs, SILENT),
    once(late, 'abort').then(() => assert.fail('the root disk waits for the kernel')),
  ]);
  // Its unfinished folder is still there.
  kernel.end.resolve();
  assert.ok(existsSync(join(await compiling, 'file')));
});

test('two builds of one entry at once: the second one waits, and has the first one’s files', async (t) => {
  const cache = ownCache(t);
  const kernel = new SlowEntry('kernel');
  const both = [ensureEntry(kernel, SILENT), ensureEntry(kernel, SILENT)];
  await kernel.begun.promise;
  kernel.end.resolve();
  const [one, other] = await Promise.all(both);
  assert.equal(one, other);
  assert.equal(kernel.builds, 1);
  assert.deepEqual(readdirSync(cache).sort(), ['kernel-0123456789abcdef', 'lock-kernel']);
});

test('another process that builds the same kind is waited for', async (t) => {
  const cache = ownCache(t);
  mkdirSync(cache, { recursive: true });
  const other = spawn('flock', [join(cache, 'lock-agent'), 'sh', '-c', 'echo; exec cat']);
  await once(other.stdout, 'data');
  const agent = new SlowEntry('agent');
  agent.end.resolve();
  const { promise: told, resolve: tell } = Promise.withResolvers<string>();
  const building = ensureEntry(agent, { ...SILENT, note: tell });
  assert.equal(await told, 'Waiting for another build to finish ...');
  assert.equal(agent.builds, 0);
  other.stdin.end();
  await building;
  assert.equal(agent.builds, 1);
});

test('what a killed build has left goes with the next one of its kind', async (t) => {
  const cache = ownCache(t);
  for (const left of ['.build-kernel-killed', '.build-rootfs-running']) {
    mkdirSync(join(cache, left, 'scratch'), { recursive: true });
    writeFileSync(join(cache, left, 'scratch/file'), '');
  }
  const kernel = new SlowEntry('kernel');
  kernel.end.resolve();
  await ensureEntry(kernel, SILENT);
  assert.ok(!existsSync(join(cache, '.build-kernel-killed')));
  assert.ok(existsSync(join(cache, '.build-rootfs-running')));
});
