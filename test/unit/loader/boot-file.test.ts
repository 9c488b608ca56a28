import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BootBytes, BootFile, imagePart, readU64 } from '../../../vmm/loader/boot-file.ts';
import { sampleBytes, temporaryDirectory, tsvmError } from './kernel-fixtures.ts';

const BYTES = sampleBytes(10_000);

function open(t: TestContext): { image: BootFile; path: string } {
  const path = join(temporaryDirectory(t), 'image');
  writeFileSync(path, BYTES);
  const image = new BootFile(path);
  t.after(() => image.close());
  return { image, path };
}

const bytesOf = (view: DataView) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);

test('a range within the file is read', (t) => {
  const { image } = open(t);
  assert.equal(image.sizeBytes, 10_000);
  assert.ok(bytesOf(image.read(9_000, 1_000, 'field')).equals(BYTES.subarray(9_000)));
  assert.equal(image.read(10_000, 0, 'field').byteLength, 0);
});

test('an error about a range outside the file names the field', (t) => {
  const { image } = open(t);
  for (const [offset, length] of [
    [9_999, 2],
    [10_001, 0],
    [2 ** 53, 1],
    [-1, 2],
    [5, -1],
  ] as const) {
    assert.throws(
      () => image.read(offset, length, 'e_phoff'),
      tsvmError(
        'invalid-kernel',
        new RegExp(`e_phoff: ${length} bytes at offset ${offset} .* 10000 bytes`),
      ),
    );
  }
});

test('a part of an image ends where it ends, not where the image does', (t) => {
  const part = imagePart(open(t).image, 100, 50);
  assert.equal(part.sizeBytes, 50);
  assert.ok(bytesOf(part.read(10, 40, 'field')).equals(BYTES.subarray(110, 150)));
  assert.throws(() => part.read(10, 41, 'field'), tsvmError('invalid-kernel', /50 bytes/));
});

test('a file that is truncated while it is read is an error', (t) => {
  const { image, path } = open(t);
  truncateSync(path, 500);
  assert.throws(() => image.read(400, 200, 'field'), tsvmError('file-unreadable', /was truncated/));
});

test('a 64-bit field of 2^53 or more is out of range', (t) => {
  const { image } = open(t);
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, 2n ** 53n - 1n, true);
  assert.equal(readU64(image, view, 0, 'p_paddr'), 2 ** 53 - 1);
  view.setBigUint64(0, 2n ** 53n, true);
  assert.throws(
    () => readU64(image, view, 0, 'p_paddr'),
    tsvmError('invalid-kernel', /p_paddr: 0x20000000000000 is out of range/),
  );
});

test('only a regular file is opened, and a FIFO does not block', (t) => {
  const fifo = join(temporaryDirectory(t), 'fifo');
  execFileSync('mkfifo', [fifo]);
  for (const path of [fifo, '/dev/null', '/']) {
    assert.throws(() => new BootFile(path), tsvmError('file-unreadable', /not a regular file/));
  }
  assert.throws(() => new BootFile('/nonexistent'), tsvmError('file-unreadable', /ENOENT/));
});

test('bytes in memory are read like a file, within their bounds', () => {
  const image = new BootBytes('disk.img, /vmlinuz', Uint8Array.of(0, 1, 2, 3, 4).subarray(1));
  assert.equal(image.sizeBytes, 4);
  assert.equal(image.read(1, 2, 'field').getUint16(0, true), 0x0302);
  const target = new Uint8Array(3);
  image.readInto(target, 1);
  assert.deepEqual(target, Uint8Array.of(2, 3, 4));
  assert.throws(
    () => image.read(3, 2, 'field'),
    tsvmError('invalid-kernel', /disk.img, \/vmlinuz: field: 2 bytes at offset 3 exceed/),
  );
});
