import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { AtomicFile, replaceFile } from '../../../vmm/host/atomic-file.ts';
import { draftName, removeAbandonedDrafts } from '../../../vmm/host/drafts.ts';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-atomic-'));
after(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
});
const path = join(folder, 'file');
const openFiles = () => readdirSync('/proc/self/fd').length;

test('a file is replaced as a whole, with the permissions that were asked for', () => {
  replaceFile(path, 'old');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  replaceFile(path, Buffer.from('new'), { mode: 0o640, durable: true });
  assert.equal(readFileSync(path, 'utf8'), 'new');
  assert.equal(statSync(path).mode & 0o777, 0o640);
  assert.deepEqual(readdirSync(folder), ['file']);
});

test('until it is committed readers see the old file', () => {
  writeFileSync(path, 'old');
  const before = openFiles();
  {
    using file = new AtomicFile(path);
    writeSync(file.fd, 'half');
    assert.equal(readFileSync(path, 'utf8'), 'old');
    assert.equal(readdirSync(folder).length, 2);
  }
  assert.equal(readFileSync(path, 'utf8'), 'old');
  assert.deepEqual(readdirSync(folder), ['file']);
  assert.equal(openFiles(), before);
});

test('a failed commit leaves neither a draft nor an open file', () => {
  mkdirSync(path);
  const before = openFiles();
  assert.throws(() => replaceFile(path, 'x'), { code: 'EISDIR' });
  assert.throws(() => replaceFile(join(folder, 'none/file'), 'x'), { code: 'ENOENT' });
  assert.deepEqual(readdirSync(folder), ['file']);
  assert.equal(openFiles(), before);
});

test('abandoned drafts go; those of live processes, young ones and other files stay', () => {
  // No process has this number: pid_max is at most 2^22.
  const dead = (id: string) => `.tsvm-4194305-1-${id}.partial`;
  const own = draftName();
  const names = [dead('00000001'), dead('00000002'), own, '.tsvm-x.partial'];
  const hourAgo = Date.now() / 1000 - 3700;
  for (const name of names) {
    writeFileSync(join(folder, name), '');
    if (name !== dead('00000002')) utimesSync(join(folder, name), hourAgo, hourAgo);
  }
  removeAbandonedDrafts(folder);
  assert.deepEqual(readdirSync(folder).sort(), names.slice(1).sort());
});

test('with locks an unlocked draft goes at once, and a locked one stays', () => {
  const names = ['.tsvm-4194305-1-0000000a.partial', '.tsvm-4194305-1-0000000b.partial'];
  for (const name of names) writeFileSync(join(folder, name), '');
  let calls = 0;
  removeAbandonedDrafts(folder, {
    lockFile: () => {
      if (calls++ === 0) throw Object.assign(new Error('locked'), { code: 'EAGAIN' });
    },
    isFileLocked: () => false,
  });
  assert.equal(calls, 2);
  assert.equal(readdirSync(folder).length, 1);
});
