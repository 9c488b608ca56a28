import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadInitrd, placeInitrd } from '../../../vmm/loader/initrd.ts';
import { sampleBytes, temporaryDirectory, tsvmError } from './kernel-fixtures.ts';

const MIB = 2 ** 20;
const SPACE = { startGpa: MIB, endGpa: 64 * MIB, endGpaMax: 3072 * MIB };
const LIMITS = {
  kernelStartGpa: 16 * MIB,
  kernelEndGpa: 30 * MIB + 5,
  initrdAddressMax: 0x7fffffff,
  initrdAnywhere: false,
};

test('an initrd stands as high as it can, on a page boundary', () => {
  assert.equal(placeInitrd(1, LIMITS, SPACE), 64 * MIB - 4096);
  assert.equal(placeInitrd(4096, LIMITS, SPACE), 64 * MIB - 4096);
  assert.equal(placeInitrd(4097, LIMITS, SPACE), 64 * MIB - 8192);
});

test('the last byte of an initrd is not above initrd_addr_max', () => {
  const limits = { ...LIMITS, initrdAddressMax: 0x37ffffff };
  const space = { ...SPACE, endGpa: 2048 * MIB };
  assert.equal(placeInitrd(4096, limits, space), 0x37fff000);
  assert.equal(placeInitrd(4096, { ...limits, initrdAddressMax: 0x37fffffe }, space), 0x37ffe000);
  assert.equal(placeInitrd(4096, { ...limits, initrdAddressMax: 0xffffffff }, space), 0x7ffff000);
});

test('an initrd goes below the kernel when there is no room above it', () => {
  const room = 64 * MIB - (30 * MIB + 4096);
  assert.equal(placeInitrd(room, LIMITS, SPACE), 30 * MIB + 4096);
  const tight = { ...SPACE, endGpa: 40 * MIB };
  assert.equal(placeInitrd(15 * MIB, LIMITS, tight), MIB);
  assert.equal(placeInitrd(3 * MIB, { ...LIMITS, initrdAddressMax: 20 * MIB }, SPACE), 13 * MIB);
});

test('an initrd over RAM is refused, with the numbers', () => {
  for (const size of [34 * MIB, 64 * MIB, 2 ** 40]) {
    assert.throws(
      () => placeInitrd(size, LIMITS, SPACE),
      tsvmError(
        'initrd-does-not-fit',
        new RegExp(`${size} bytes .* 35651579 bytes below 0x4000000`),
      ),
    );
  }
  const unreachable = { ...LIMITS, initrdAddressMax: 0 };
  assert.throws(
    () => placeInitrd(1, unreachable, SPACE),
    tsvmError('initrd-does-not-fit', / 0 bytes/),
  );
});

test('an initrd too large for initrd_addr_max goes above it where the kernel allows that', () => {
  const space = { ...SPACE, endGpa: 3072 * MIB };
  const anywhere = { ...LIMITS, initrdAnywhere: true };
  assert.equal(placeInitrd(4096, anywhere, space), 0x7ffff000, 'not above it without need');
  assert.equal(placeInitrd(2200 * MIB, anywhere, space), (3072 - 2200) * MIB);
});

test('more memory is advised only where it helps', () => {
  const size = 2200 * MIB;
  const more = tsvmError('initrd-does-not-fit', /give the guest more memory/);
  assert.throws(() => placeInitrd(size, LIMITS, { ...SPACE, endGpa: 1024 * MIB }), more);
  const large = { ...SPACE, endGpa: 3072 * MIB };
  const kernel = tsvmError(
    'initrd-does-not-fit',
    /cannot use higher addresses; use a smaller initrd/,
  );
  assert.throws(() => placeInitrd(size, LIMITS, large), kernel);
  const hole = tsvmError('initrd-does-not-fit', /device hole starts there; use a smaller initrd/);
  const anywhere = { ...LIMITS, initrdAnywhere: true };
  assert.throws(() => placeInitrd(3100 * MIB, anywhere, large), hole);
});

test('an initrd is copied: its file may change while the guest runs', (t) => {
  const path = join(temporaryDirectory(t), 'initrd');
  writeFileSync(path, sampleBytes(10_000));
  const initrd = loadInitrd([path], LIMITS, SPACE);
  initrd.close();
  assert.equal(initrd.gpa, 64 * MIB - 3 * 4096);
  assert.equal(initrd.sizeBytes, 10_000);
  assert.deepEqual(
    initrd.parts.map(({ pieces }) => pieces),
    [[{ kind: 'copy', gpa: initrd.gpa, lengthBytes: 10_000, fileOffset: 0 }]],
  );
});

test('of several files of an initrd, each starts at a page', (t) => {
  const directory = temporaryDirectory(t);
  const paths = [4096, 1, 5000].map((size, index) => {
    const path = join(directory, `part-${index}`);
    writeFileSync(path, sampleBytes(size));
    return path;
  });
  const initrd = loadInitrd(paths, LIMITS, SPACE);
  initrd.close();
  assert.equal(initrd.sizeBytes, 2 * 4096 + 5000);
  assert.deepEqual(
    initrd.parts.map(({ pieces: [piece] }) => (piece?.gpa ?? 0) - initrd.gpa),
    [0, 4096, 8192],
  );
});

test('an initrd that is empty or not a regular file is refused', (t) => {
  const directory = temporaryDirectory(t);
  const empty = join(directory, 'empty');
  writeFileSync(empty, '');
  mkdirSync(join(directory, 'folder'));
  const load = (path: string) => () => loadInitrd([path], LIMITS, SPACE);
  assert.throws(load(empty), tsvmError('invalid-config', /empty is empty/));
  assert.throws(
    load(join(directory, 'folder')),
    tsvmError('file-unreadable', /not a regular file/),
  );
  assert.throws(load(join(directory, 'none')), tsvmError('file-unreadable', /ENOENT/));
});
