import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { lockDisk } from '../../../../../vmm/backends/disk/file/lock.ts';
import type { FileLocks } from '../../../../../vmm/host/file-locks.ts';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-lock-'));
after(() => rmSync(folder, { recursive: true }));

const path = join(folder, 'disk.img');
writeFileSync(path, new Uint8Array(512));

/** Remembers calls; `held` answers isFileLocked, `conflict` makes lockFile throw. */
function stubLocks(held = false, conflict?: string) {
  const calls: (readonly unknown[])[] = [];
  const locks: FileLocks = {
    lockFile: (_fd, ...rest) => {
      calls.push(['lock', ...rest]);
      if (conflict) throw Object.assign(new Error('no'), { code: conflict });
    },
    isFileLocked: (_fd, ...rest) => {
      calls.push(['test', ...rest]);
      return held;
    },
  };
  return { calls, locks };
}

test('a writer locks the whole file, however long it grows', () => {
  const { calls, locks } = stubLocks();
  lockDisk(locks, 0, path, false);
  assert.deepEqual(calls, [['lock', true, 0, 0]]);
});

test('a reader first excludes writers, then checks for one', () => {
  const { calls, locks } = stubLocks();
  lockDisk(locks, 0, path, true);
  assert.deepEqual(calls, [
    ['lock', false, 201, 1],
    ['test', true, 101, 1],
  ]);
  const fd = openSync(path, 'r');
  assert.throws(() => lockDisk(stubLocks(true).locks, fd, path, true), { code: 'disk-locked' });
  closeSync(fd);
});

test('other failures are not called a lock', () => {
  assert.throws(() => lockDisk(stubLocks(false, 'ENOLCK').locks, 0, path, false), {
    code: 'ENOLCK',
  });
});

test('the message names the file and the process that holds it', async () => {
  const holder: ChildProcess = spawn('flock', ['--no-fork', '-x', path, 'sleep', '60']);
  const fd = openSync(path, 'r+');
  try {
    const { pid } = holder;
    assert.ok(pid);
    while (!/^sleep/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'))) await sleep(5);
    for (const readOnly of [true, false]) {
      assert.throws(() => lockDisk(stubLocks(false, 'EAGAIN').locks, fd, path, readOnly), {
        code: 'disk-locked',
        message: new RegExp(`^${path} is in use by process ${pid} \\(sleep\\)`),
      });
    }
  } finally {
    holder.kill();
    closeSync(fd);
  }
});
