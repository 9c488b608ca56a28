import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openHostFile } from '../../../../../vmm/backends/disk/file/host-file.ts';
import type { ImageRun } from '../../../../../vmm/backends/disk/image/image.ts';
import { RawImage } from '../../../../../vmm/backends/disk/image/raw-image.ts';
import { hostFiles } from '../../../../../vmm/host/host-files.ts';
import { pattern, temporaryFolder } from '../../../../support/disk-fixtures.ts';

const folder = temporaryFolder();
after(() => folder.remove());
const KIB = 1024;

function open(name: string, content: Uint8Array, readOnly = false): RawImage {
  const path = join(folder.path, name);
  writeFileSync(path, content);
  return new RawImage(openHostFile(path, hostFiles(), { readOnly }));
}

/** All runs: kind and length. */
function runs(image: RawImage): [ImageRun['kind'], number][] {
  const all: [ImageRun['kind'], number][] = [];
  for (let at = 0; at < image.sizeBytes; ) {
    const run = image.mapSync(at, image.sizeBytes - at);
    assert.equal(run.file, image.file);
    assert.equal(run.fileOffset, at);
    all.push([run.kind, run.length]);
    at += run.length;
  }
  return all;
}

test('holes are zero, the rest is data, both where they lie in the file', () => {
  const image = open('holes.img', new Uint8Array(0));
  image.resizeSync(1024 * KIB);
  image.writeSync(256 * KIB, pattern(128 * KIB, 1));
  assert.deepEqual(runs(image), [
    ['zero', 256 * KIB],
    ['data', 128 * KIB],
    ['zero', 640 * KIB],
  ]);
  assert.equal(image.mapSync(300 * KIB, 4096).length, 4096);
  assert.equal(image.mapSync(300 * KIB, 4096).writable, true);
  assert.equal(image.mapSync(0, 4096).writable, false);
  image.close();
});

test('a read-only image has no writable runs', () => {
  const image = open('ro.img', pattern(4096, 1), true);
  assert.deepEqual([image.readOnly, image.mapSync(0, 4096).writable], [true, false]);
  image.flushSync();
  image.close();
});

test('a length that is no multiple of 512: the last sector is padded, and grows when written', async () => {
  const content = pattern(1000, 3);
  const image = open('odd.img', content);
  assert.equal(image.sizeBytes, 1024);
  assert.deepEqual(runs(image), [['data', 1024]]);
  const expected = new Uint8Array(1024);
  expected.set(content);
  const got = new Uint8Array(1024).fill(0xff);
  await image.read(0, got);
  assert.deepEqual(got, expected);
  assert.equal(statSync(image.file.path).size, 1000);
  await image.write(512, new Uint8Array(512).fill(9));
  assert.equal(statSync(image.file.path).size, 1024);
  await image.flush();
  image.close();
});

test('a hole before an end inside a sector is zero to the end', () => {
  const image = open('odd-hole.img', new Uint8Array(0));
  image.file.truncateSync(512 * KIB + 100);
  const odd = new RawImage(image.file);
  assert.deepEqual(runs(odd), [['zero', 512 * KIB + 512]]);
  odd.close();
});

test('zeroes and discards read as zeroes; discarded space is freed', () => {
  const content = pattern(256 * KIB, 5);
  const image = open('zero.img', content);
  image.writeZeroesSync(0, 64 * KIB, false);
  const kept = statSync(image.file.path).blocks;
  image.discardSync(128 * KIB, 64 * KIB);
  const expected = Uint8Array.from(content)
    .fill(0, 0, 64 * KIB)
    .fill(0, 128 * KIB, 192 * KIB);
  assert.deepEqual(new Uint8Array(readFileSync(image.file.path)), expected);
  assert.ok(statSync(image.file.path).blocks < kept);
  image.close();
});

test('it grows with zeroes and shrinks', () => {
  const image = open('size.img', pattern(4096, 2));
  image.resizeSync(8192);
  assert.equal(image.sizeBytes, 8192);
  image.resizeSync(1024);
  assert.equal(image.sizeBytes, 1024);
  image.resizeSync(2048);
  const got = new Uint8Array(2048);
  image.readSync(0, got);
  assert.deepEqual(got.subarray(1024), new Uint8Array(1024));
  assert.deepEqual(got.subarray(0, 1024), pattern(4096, 2).subarray(0, 1024));
  image.close();
});
