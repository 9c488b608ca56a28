/** Checks of images that lie to lead the check around: they end, in bounded time and memory. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkImage } from '../../../../../../../vmm/backends/disk/image/qcow2/check/check.ts';
import { parseHeader } from '../../../../../../../vmm/backends/disk/image/qcow2/header/header.ts';
import type { Header } from '../../../../../../../vmm/backends/disk/image/qcow2/header/header-fields.ts';
import { HeaderField } from '../../../../../../../vmm/backends/disk/image/qcow2/header/layout.ts';
import { temporaryFolder } from '../../../../../../support/disk-fixtures.ts';
import { MemoryImageFile } from '../../../../../../support/memory-image-file.ts';
import { qemuImgOutput } from '../../../../../../support/qemu-img.ts';

const folder = temporaryFolder();
after(() => folder.remove());

let count = 0;
async function emptyImage(options: string, size = '64M'): Promise<MemoryImageFile> {
  const path = join(folder.path, `${count++}.qcow2`);
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', options, path, size);
  return new MemoryImageFile(readFileSync(path), path);
}

function writeEntries(file: MemoryImageFile, at: number, entries: readonly bigint[]): void {
  const bytes = Buffer.alloc(entries.length * 8);
  for (const [index, entry] of entries.entries()) bytes.writeBigUInt64BE(entry, index * 8);
  file.writeSync(at, bytes);
}

function setU32(file: MemoryImageFile, at: number, value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  file.writeSync(at, bytes);
}

/** Adds snapshots, all with the same L1 table. */
function addSnapshots(
  file: MemoryImageFile,
  snapshots: number,
  l1Offset: number,
  l1Entries: number,
): Header {
  const { clusterBits } = parseHeader(file);
  const offset = Math.ceil(file.sizeBytes() / 2 ** clusterBits) * 2 ** clusterBits;
  const table = Buffer.alloc(snapshots * 56);
  for (let index = 0; index < snapshots; index++) {
    table.writeBigUInt64BE(BigInt(l1Offset), index * 56);
    table.writeUInt32BE(l1Entries, index * 56 + 8);
    table.writeUInt32BE(16, index * 56 + 36);
  }
  file.writeSync(offset, table);
  setU32(file, HeaderField.nb_snapshots, snapshots);
  writeEntries(file, HeaderField.snapshots_offset, [BigInt(offset)]);
  return parseHeader(file);
}

test('a million L1 entries that point to one L2 table cost no more than one', async () => {
  const file = await emptyImage('cluster_size=64k');
  const entries = 2 ** 20;
  const l1 = 16 * 2 ** 20;
  const l2 = 64 * 2 ** 20;
  writeEntries(file, l1, new Array(entries).fill(BigInt(l2)));
  writeEntries(file, l2, new Array(8192).fill(BigInt(l2 + 65_536)));
  file.writeSync(l2 + 65_536, new Uint8Array(65_536));
  setU32(file, HeaderField.l1_size, entries);
  writeEntries(file, HeaderField.l1_table_offset, [BigInt(l1)]);
  const start = performance.now();
  const result = checkImage(file);
  assert.ok(performance.now() - start < 60_000);
  assert.equal(result.allocatedClusters, entries * 8192);
  assert.ok(result.problems.length <= 1001, `${result.problems.length} lines`);
});

test('L1 entries that point at the tables of the image, and at one another', async () => {
  const file = await emptyImage('cluster_size=64k', '8G');
  const { l1Offset, refcountTableOffset } = parseHeader(file);
  const flag = 1n << 63n;
  const tables = [l1Offset, 0, refcountTableOffset, 2 * 65_536].map((at) => BigInt(at) | flag);
  writeEntries(file, l1Offset, tables);
  assert.ok(checkImage(file).corruptions > 0);
});

test('more unaligned L2 tables than make sense', async () => {
  const file = await emptyImage('cluster_size=64k', '4T');
  const { l1Offset } = parseHeader(file);
  file.truncateSync(16 * 2 ** 20);
  writeEntries(
    file,
    l1Offset,
    Array.from({ length: 2000 }, (_, index) => BigInt(index * 1024 + 512)),
  );
  assert.throws(() => checkImage(file), { code: 'invalid-disk', message: /not aligned/ });
});

test('a file of 2^31 clusters, all of them a hole', async () => {
  const file = await emptyImage('cluster_size=512');
  file.truncateSync(2 ** 41);
  assert.throws(() => checkImage(file), { code: 'invalid-disk', message: /clusters/ });
});

test('refcounts of 64 bits that are beyond all reason are leaks', async () => {
  const file = await emptyImage('refcount_bits=64,cluster_size=4k');
  const { refcountTableOffset } = parseHeader(file);
  const entry = Buffer.alloc(8);
  file.readSync(refcountTableOffset, entry);
  writeEntries(file, Number(entry.readBigUInt64BE()), [2n ** 64n - 1n]);
  const result = checkImage(file);
  assert.deepEqual([result.leaks, result.corruptions, result.checkErrors], [1, 0, 0]);
});

test('thousands of snapshots that share the largest L1 table', async () => {
  const file = await emptyImage('cluster_size=64k');
  file.truncateSync(64 * 2 ** 20);
  addSnapshots(file, 5000, 16 * 2 ** 20, 2 ** 22);
  assert.throws(() => checkImage(file), { code: 'invalid-disk', message: /entries/ });
});

test("a snapshot's L1 table that claims too many entries, is unaligned or past the end", async () => {
  const file = await emptyImage('cluster_size=64k');
  addSnapshots(file, 2, 65_536 * 3, 2 ** 32 - 1);
  assert.match(checkImage(file).problems.join('\n'), /claims 4294967295 entries/);
  const unaligned = await emptyImage('cluster_size=64k');
  addSnapshots(unaligned, 1, 512, 1);
  assert.match(checkImage(unaligned).problems.join('\n'), /not aligned/);
  const behind = await emptyImage('cluster_size=64k');
  addSnapshots(behind, 1, 2 ** 52, 1);
  assert.match(checkImage(behind).problems.join('\n'), /past the file's end/);
});

test('a snapshot table whose entries claim too much extra data', async () => {
  const file = await emptyImage('cluster_size=64k');
  const { snapshotsOffset } = addSnapshots(file, 1, 65_536 * 3, 1);
  setU32(file, snapshotsOffset + 36, 1025);
  assert.throws(() => checkImage(file), { code: 'invalid-disk', message: /extra data/ });
});

test('a snapshot table that is longer than any program writes it', async () => {
  const file = await emptyImage('cluster_size=64k');
  const { snapshotsOffset } = addSnapshots(file, 65_536, 65_536 * 3, 1);
  // Names of 65,535 bytes, each entry at the end of the one before.
  let at = snapshotsOffset;
  for (let index = 0; index < 2000; index++) {
    file.writeSync(at, new Uint8Array(40));
    file.writeSync(at + 14, Uint8Array.of(0xff, 0xff));
    at = Math.ceil((at + 40 + 0xffff) / 8) * 8;
  }
  assert.throws(() => checkImage(file), { code: 'invalid-disk', message: /snapshot table/ });
});

test('more snapshots than there may be', async () => {
  const file = await emptyImage('cluster_size=64k');
  const add = (): Header => addSnapshots(file, 65_537, 65_536 * 3, 1);
  assert.throws(
    () => {
      add();
      checkImage(file);
    },
    { code: 'invalid-disk' },
  );
});

test('a bitmap directory whose entries lie', async () => {
  const path = join(folder.path, 'bitmaps.qcow2');
  await qemuImgOutput('create', '-q', '-f', 'qcow2', path, '64M');
  await qemuImgOutput('bitmap', '--add', path, 'a');
  const whole = new MemoryImageFile(readFileSync(path), path);
  assert.equal(checkImage(whole).corruptions, 0);
  const { bitmaps } = parseHeader(whole);
  assert.ok(bitmaps);
  const lies: [string, number, number][] = [
    ['a table of 2^32 entries', 8, 2 ** 32 - 1],
    ['reserved flags', 12, 4],
    ['extra data', 20, 2 ** 32 - 1],
  ];
  for (const [name, field, value] of lies) {
    const file = new MemoryImageFile(readFileSync(path), path);
    setU32(file, bitmaps.directoryOffset + field, value);
    assert.match(checkImage(file).problems.join('\n'), /bitmap directory/, name);
  }
});
