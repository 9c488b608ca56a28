import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  fstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openRawDisk } from '../../../../../vmm/backends/disk/machine/raw-disk.ts';
import type { HostFiles } from '../../../../../vmm/host/host-files.ts';
import { FakeDisk, scriptRequest } from '../../../../support/fake-disk.ts';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-raw-'));
after(() => rmSync(folder, { recursive: true }));

function notNeeded(): never {
  throw new Error('a raw disk does not need this');
}

const NO_LOCKS: HostFiles = {
  lockFile: () => {},
  isFileLocked: () => false,
  seekData: notNeeded,
  seekHole: notNeeded,
  allocateFile: notNeeded,
  zeroFile: notNeeded,
};

function image(name: string, content: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

test('a raw file is one extent', () => {
  const disk = new FakeDisk();
  const raw = openRawDisk(image('a.img', new Uint8Array(8192)), false, NO_LOCKS);
  raw.attach(disk);
  const [extent] = disk.extents;
  assert.ok(extent);
  assert.deepEqual(
    { ...extent, fd: 0 },
    { offset: 0, length: 8192, fd: 0, fdOffset: 0, zero: false, readOnly: false },
  );
  assert.equal(fstatSync(extent.fd).size, 8192);
  assert.equal(raw.sizeBytes, 8192);
  raw.close();
  assert.throws(() => fstatSync(extent.fd), { code: 'EBADF' });
});

test('the file is not inherited by programs that are started', () => {
  const raw = openRawDisk(image('cloexec.img', new Uint8Array(512)), false, NO_LOCKS);
  const files = execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
  assert.doesNotMatch(files, /cloexec\.img/);
  raw.close();
});

test('read-only: the file is opened read-only, and its extent is read-only', () => {
  const path = image('ro.img', new Uint8Array(512));
  chmodSync(path, 0o400);
  const disk = new FakeDisk();
  const raw = openRawDisk(path, true, NO_LOCKS);
  raw.attach(disk);
  assert.equal(disk.extents[0]?.readOnly, true);
  const flags = readFileSync(`/proc/self/fdinfo/${disk.extents[0]?.fd}`, 'utf8');
  assert.match(flags, /^flags:\t0*[24]\d*0$/m, 'O_RDONLY with O_CLOEXEC');
  raw.close();
});

test('directories, devices, missing and empty files are refused, and nothing stays open', () => {
  const before = readdirSync('/proc/self/fd').length;
  const open = (path: string) => () => openRawDisk(path, false, NO_LOCKS);
  assert.throws(open(folder), { code: 'invalid-disk', message: /is a directory/ });
  assert.throws(open('/dev/null'), { code: 'invalid-disk', message: /neither/ });
  assert.throws(open(join(folder, 'none.img')), { code: 'file-unreadable', message: /ENOENT/ });
  const empty = image('empty.img', new Uint8Array());
  assert.throws(open(empty), { code: 'invalid-disk', message: /truncate/ });
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  assert.throws(open(pipe), { code: 'invalid-disk' });
  assert.equal(readdirSync('/proc/self/fd').length, before);
});

test('a locked file is refused and closed', () => {
  const before = readdirSync('/proc/self/fd').length;
  const path = image('locked.img', new Uint8Array(512));
  const locks: HostFiles = {
    ...NO_LOCKS,
    lockFile: () => {
      throw Object.assign(new Error('locked'), { code: 'EAGAIN' });
    },
  };
  assert.throws(() => openRawDisk(path, false, locks), { code: 'disk-locked' });
  assert.equal(readdirSync('/proc/self/fd').length, before);
});

test('a length that is no multiple of 512: the guest sees the last sector padded with zeroes', async () => {
  const path = image('odd.img', new Uint8Array(1000).fill(0xab));
  const disk = new FakeDisk();
  const raw = openRawDisk(path, true, NO_LOCKS);
  raw.attach(disk);
  assert.equal(raw.sizeBytes, 1024);
  assert.equal(disk.extents[0]?.length, 512);
  await raw.resolve(disk, scriptRequest(1, 'read', 0, 1024));
  const expected = new Uint8Array(1024).fill(0xab, 0, 1000);
  assert.deepEqual(disk.finishes, [{ id: 1, errno: 0, data: expected }]);
  await raw.resolve(disk, scriptRequest(2, 'write', 512, 512));
  assert.equal(disk.finishes[1]?.errno, constants.errno.EROFS);
  assert.equal(statSync(path).size, 1000);
  raw.close();
});

test('the first write to the padded sector lets the file grow', async () => {
  const path = image('grow.img', new Uint8Array(100).fill(1));
  const disk = new FakeDisk();
  const raw = openRawDisk(path, false, NO_LOCKS);
  raw.attach(disk);
  assert.equal(disk.extents.length, 0);
  await raw.resolve(disk, scriptRequest(1, 'write', 0, 512));
  assert.equal(statSync(path).size, 512);
  assert.deepEqual(disk.retries, [1]);
  assert.equal(disk.extents[0]?.length, 512);
  raw.close();
});
