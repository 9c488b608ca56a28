import assert from 'node:assert/strict';
import { globSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolders } from '../../../vmm/host/make-folders.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

test('folders are made with their mode, and those that are there stay as they are', (t) => {
  const folder = temporaryFolder(t);
  makeFolders(join(folder, 'a/b/c'), 0o700);
  for (const name of ['a', 'a/b', 'a/b/c']) {
    assert.equal(statSync(join(folder, name)).mode & 0o7777, 0o700, name);
  }
  mkdirSync(join(folder, 'open'), { mode: 0o755 });
  makeFolders(join(folder, 'open'), 0o700);
  assert.equal(statSync(join(folder, 'open')).mode & 0o777, 0o755);
  symlinkSync('open', join(folder, 'link'));
  makeFolders(join(folder, 'link/inside'));
  assert.ok(statSync(join(folder, 'open/inside')).isDirectory());
  makeFolders('/');
  makeFolders('/proc');
  const deep = join(folder, 'd/'.repeat(1000));
  makeFolders(deep);
  assert.ok(statSync(deep).isDirectory());
});

test('what cannot be made is an error, below /proc too', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'file'), '');
  symlinkSync('nothing', join(folder, 'dangling'));
  for (const [path, code] of [
    [join(folder, 'file'), 'EEXIST'],
    [join(folder, 'file/x/y'), 'ENOTDIR'],
    [join(folder, 'dangling'), 'EEXIST'],
    ['/proc/tsvm', 'ENOENT'],
    ['/proc/tsvm/a/b', 'ENOENT'],
    ['/proc/self/a', 'ENOENT'],
  ] as const) {
    assert.throws(() => makeFolders(path), { code }, path);
  }
});

test('nobody else makes folders with those above', () => {
  const root = packageRoot();
  const users = globSync('vmm/**/*.ts', { cwd: root }).filter((path) =>
    /\bmkdir(?:Sync)?\([^;]*\brecursive\b/.test(readFileSync(join(root, path), 'utf8')),
  );
  assert.deepEqual(users, []);
});

test('a user’s folder below /proc is an error that names it', async (t) => {
  const folder = temporaryFolder(t);
  const env = { TSVM_DATA_FOLDER: folder, TSVM_RUNTIME_FOLDER: folder, TSVM_LOG_FOLDER: folder };
  for (const [variable, args, code] of [
    ['TSVM_DATA_FOLDER', ['volume', 'create', 'some'], 1],
    ['TSVM_DATA_FOLDER', ['network', 'create', 'some'], 1],
    ['TSVM_DATA_FOLDER', ['import', '-', 'some'], 1],
    ['TSVM_RUNTIME_FOLDER', ['boot', '--detach', '--kernel', '/dev/null'], 125],
    ['TSVM_LOG_FOLDER', ['boot', '--detach', '--kernel', '/dev/null'], 125],
  ] as const) {
    const result = await runTsvm(args, {
      env: { ...env, [variable]: '/proc/tsvm/here' },
      input: Buffer.alloc(10_240),
      timeoutMs: 60_000,
    });
    assert.equal(result.code, code, `${variable} ${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, /\/proc\/tsvm/, args.join(' '));
  }
});
