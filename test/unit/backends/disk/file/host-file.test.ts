import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  createHostFile,
  type HostFile,
  openHostFile,
} from '../../../../../vmm/backends/disk/file/host-file.ts';
import { type HostFiles, hostFiles } from '../../../../../vmm/host/host-files.ts';
import { pattern, temporaryFolder } from '../../../../support/disk-fixtures.ts';

const folder = temporaryFolder();
after(() => folder.remove());
const KIB = 1024;
const data = pattern(256 * KIB, 7);

/** A host whose calls answer as `changes` says. */
function host(changes: Partial<HostFiles> = {}): HostFiles {
  const real = hostFiles();
  return {
    lockFile: real.lockFile,
    isFileLocked: real.isFileLocked,
    seekData: real.seekData,
    seekHole: real.seekHole,
    allocateFile: real.allocateFile,
    zeroFile: real.zeroFile,
    ...changes,
  };
}

function failing(code: string): () => never {
  return () => {
    throw Object.assign(new Error(`the host says ${code}`), { code });
  };
}

let count = 0;
function newFile(files = host()): HostFile {
  return createHostFile(join(folder.path, `${count++}.img`), files);
}

function usedBytes(file: HostFile): number {
  return statSync(file.path).blocks * 512;
}

test('bytes are written and read where they belong, synchronously and not', async () => {
  const file = newFile();
  file.writeSync(1000, data);
  await file.write(1000 + data.length, data);
  assert.equal(file.sizeBytes(), 1000 + 2 * data.length);
  const expected = Buffer.concat([new Uint8Array(1000), data, data]);
  assert.deepEqual(readFileSync(file.path), expected);
  const got = new Uint8Array(expected.length);
  file.readSync(0, got);
  assert.deepEqual(got, new Uint8Array(expected));
  got.fill(0xff);
  await file.read(0, got);
  assert.deepEqual(got, new Uint8Array(expected));
  file.datasyncSync();
  await file.datasync();
  file.close();
});

test('data past the end of the file reads as zeroes', async () => {
  const file = newFile();
  file.writeSync(0, data.subarray(0, 100));
  const expected = new Uint8Array(300);
  expected.set(data.subarray(50, 100));
  const got = new Uint8Array(300).fill(0xff);
  file.readSync(50, got);
  assert.deepEqual(got, expected);
  await file.read(50, got.fill(0xff));
  assert.deepEqual(got, expected);
  file.readSync(5000, got.fill(0xff));
  assert.deepEqual(got, new Uint8Array(300));
  file.close();
});

test('data and holes are found, and the end of the file where there are none', () => {
  const file = newFile();
  file.truncateSync(1024 * KIB);
  file.writeSync(512 * KIB, data);
  assert.equal(file.nextDataSync(0), 512 * KIB);
  assert.equal(file.nextHoleSync(512 * KIB), 768 * KIB);
  assert.equal(file.nextDataSync(768 * KIB), 1024 * KIB);
  assert.equal(file.nextHoleSync(0), 0);
  assert.equal(file.nextDataSync(2048 * KIB), 1024 * KIB);
  assert.equal(file.nextHoleSync(2048 * KIB), 1024 * KIB);
  file.close();
});

test('a file system that knows no holes has data everywhere', () => {
  const seek = failing('EINVAL');
  const file = newFile(host({ seekData: seek, seekHole: seek }));
  file.truncateSync(64 * KIB);
  assert.equal(file.nextDataSync(1000), 1000);
  assert.equal(file.nextHoleSync(1000), 64 * KIB);
  file.close();
});

const ZEROING: Readonly<Record<string, HostFiles>> = {
  'as the file system does it': host(),
  'where nothing can be punched or zeroed': host({ zeroFile: failing('EOPNOTSUPP') }),
  'where nothing can be reserved either': host({
    zeroFile: failing('EOPNOTSUPP'),
    allocateFile: failing('EOPNOTSUPP'),
  }),
};

test('a discard frees space, and writes nothing where it cannot', () => {
  const holes = newFile(host());
  holes.writeSync(0, data);
  holes.discardSync(64 * KIB, 64 * KIB);
  assert.equal(holes.nextHoleSync(0), 64 * KIB);
  holes.close();
  const plain = newFile(host({ zeroFile: failing('EOPNOTSUPP') }));
  plain.writeSync(0, data);
  plain.discardSync(64 * KIB, 64 * KIB);
  const bytes = new Uint8Array(data.length);
  plain.readSync(0, bytes);
  assert.deepEqual(bytes, new Uint8Array(data));
  plain.close();
});

for (const [name, files] of Object.entries(ZEROING)) {
  for (const deallocate of [true, false]) {
    test(`zeroes ${deallocate ? 'with' : 'without'} deallocation, ${name}`, () => {
      const file = newFile(files);
      file.writeSync(0, data);
      // In the middle, then across the end of the file, then past it.
      file.writeZeroesSync(64 * KIB, 64 * KIB, deallocate);
      file.writeZeroesSync(192 * KIB + 100, 128 * KIB, deallocate);
      file.writeZeroesSync(1024 * KIB, 10, deallocate);
      file.writeZeroesSync(4096 * KIB, 0, deallocate);
      const expected = new Uint8Array(1024 * KIB + 10);
      expected.set(data);
      expected.fill(0, 64 * KIB, 128 * KIB).fill(0, 192 * KIB + 100);
      assert.deepEqual(new Uint8Array(readFileSync(file.path)), expected);
      file.close();
    });
  }
}

test('deallocation frees space; without it the space stays allocated', () => {
  const file = newFile();
  file.writeSync(0, data);
  file.writeZeroesSync(0, 128 * KIB, false);
  assert.ok(usedBytes(file) >= data.length);
  file.writeZeroesSync(0, 128 * KIB, true);
  assert.ok(usedBytes(file) <= data.length - 128 * KIB);
  file.close();
});

test('space is reserved and reads as before', () => {
  const file = newFile();
  file.writeSync(0, data);
  file.allocateSync(128 * KIB, 1024 * KIB);
  assert.equal(file.sizeBytes(), 1152 * KIB);
  assert.ok(usedBytes(file) >= 1152 * KIB);
  const expected = new Uint8Array(1152 * KIB);
  expected.set(data);
  assert.deepEqual(new Uint8Array(readFileSync(file.path)), expected);
  file.close();
});

test('a failure names the file and the offset, and what to do about a full disk', async () => {
  const file = newFile(host({ allocateFile: failing('ENOSPC') }));
  assert.throws(() => file.allocateSync(4096, 512), {
    code: 'disk-io',
    message: /reserving space in .*\.img at 4096: .*ENOSPC.*free some space/,
  });
  file.close();
  const reader = openHostFile(file.path, host(), { readOnly: true });
  assert.throws(() => reader.writeSync(7, data), { code: 'disk-io', message: /writing .* at 7/ });
  await assert.rejects(reader.write(7, data), { code: 'disk-io', message: /EBADF/ });
  assert.throws(() => reader.truncateSync(0), { code: 'disk-io' });
  reader.close();
});

test('an existing file is not created again, and a new one is locked', () => {
  const file = newFile();
  assert.throws(() => createHostFile(file.path, host()), { code: 'file-unreadable' });
  const open = () => openHostFile(file.path, host(), { readOnly: true });
  assert.throws(open, { code: 'disk-locked' });
  const unlocked = openHostFile(file.path, host(), { readOnly: true, unlocked: true });
  unlocked.close();
  file.close();
  open().close();
});
