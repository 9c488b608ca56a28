import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openRawDisk } from '../../../../../vmm/backends/disk/machine/raw-disk.ts';
import { RawOverlayDisk } from '../../../../../vmm/backends/disk/machine/raw-overlay-disk.ts';
import { hostFiles } from '../../../../../vmm/host/host-files.ts';
import { FakeDisk, scriptRequest } from '../../../../support/fake-disk.ts';

const CHUNK = 64 * 1024;
/** Two chunks and a part of a third, whose last sector the file has in part. */
const SIZE = 2 * CHUNK + 1000;

function open(t: TestContext): { disk: FakeDisk; backend: RawOverlayDisk; path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  const path = join(folder, 'base.img');
  writeFileSync(path, Buffer.alloc(SIZE, 'base '));
  const backend = new RawOverlayDisk(openRawDisk(path, true, hostFiles()), hostFiles());
  const disk = new FakeDisk();
  backend.attach(disk);
  t.after(() => {
    backend.close();
    rmSync(folder, { recursive: true });
  });
  return { disk, backend, path };
}

test('the base is read unchanged and never written', (t) => {
  const { disk, backend } = open(t);
  assert.equal(backend.readOnly, false);
  assert.equal(backend.sizeBytes, 2 * CHUNK + 1024);
  assert.ok(disk.extents.every(({ readOnly }) => readOnly));
});

test('a first write copies the chunks that it touches, once', async (t) => {
  const { disk, backend, path } = open(t);
  const known = disk.extents.length;
  await backend.resolve(disk, scriptRequest(1, 'write', CHUNK - 512, 1024));
  await backend.resolve(disk, scriptRequest(2, 'write', 0, 512));
  assert.deepEqual(disk.retries, [1, 2]);
  const copies = disk.extents.slice(known);
  assert.deepEqual(
    copies.map(({ offset, length, readOnly }) => ({ offset, length, readOnly })),
    [
      { offset: 0, length: CHUNK, readOnly: false },
      { offset: CHUNK, length: CHUNK, readOnly: false },
    ],
  );
  const [copy] = copies;
  assert.ok(copy);
  const bytes = Buffer.alloc(CHUNK);
  readSync(copy.fd, bytes, 0, CHUNK, copy.fdOffset);
  assert.ok(bytes.equals(readFileSync(path).subarray(0, CHUNK)));
});

test('the sector that the file has in part is padded with zeroes', async (t) => {
  const { disk, backend } = open(t);
  await backend.resolve(disk, scriptRequest(1, 'read', 2 * CHUNK + 512, 512));
  const copy = disk.extents.at(-1);
  assert.ok(copy);
  assert.equal(copy.length, 1024);
  const bytes = Buffer.alloc(1024);
  readSync(copy.fd, bytes, 0, 1024, copy.fdOffset);
  assert.ok(bytes.subarray(1000).every((byte) => byte === 0));
  assert.notEqual(bytes[999], 0);
});

test('flush and discard have nothing to do', async (t) => {
  const { disk, backend } = open(t);
  await backend.resolve(disk, scriptRequest(1, 'flush', 0, 0));
  await backend.resolve(disk, scriptRequest(2, 'discard', 0, 512));
  assert.deepEqual(
    disk.finishes.map(({ id, errno }) => [id, errno]),
    [
      [1, 0],
      [2, 0],
    ],
  );
});
