import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  TableCache,
  tableMemoryBytes,
} from '../../../../../../../vmm/backends/disk/image/qcow2/tables/table-cache.ts';

const TABLE_BYTES = 4096;

function cacheOf(tables: number): TableCache {
  return new TableCache(TABLE_BYTES, tables * tableMemoryBytes(TABLE_BYTES));
}

/** Which of the first so many tables are there. */
function present(cache: TableCache, count: number): number[] {
  return Array.from({ length: count }, (_, index) => index).filter((index) => cache.get(index));
}

function add(cache: TableCache, index: number, linked = true) {
  return cache.add(index, index * TABLE_BYTES, new Uint8Array(TABLE_BYTES), linked);
}

test('clean tables give way, and memory stays bounded', () => {
  const cache = cacheOf(8);
  for (let index = 0; index < 100; index++) add(cache, index);
  assert.equal(cache.bytesUsed, 8 * tableMemoryBytes(TABLE_BYTES));
  assert.deepEqual(present(cache, 100), [92, 93, 94, 95, 96, 97, 98, 99]);
});

test('a table in use outlives those that are not asked for', () => {
  const cache = cacheOf(8);
  for (let index = 0; index < 100; index++) {
    add(cache, index);
    cache.get(0);
  }
  assert.ok(cache.get(0));
});

test('dirty tables stay until they are written', () => {
  const cache = cacheOf(4);
  const dirty = [0, 1, 2].map((index) => add(cache, index));
  for (const table of dirty) table.markDirty(8, 8);
  assert.ok(cache.isCrowded);
  for (let index = 3; index < 50; index++) add(cache, index);
  assert.deepEqual(
    dirty.map(({ index }) => cache.get(index)),
    dirty,
  );
  for (const table of cache.dirtyTables()) table.takeWrites([]);
  assert.equal(cache.isCrowded, false);
  for (let index = 50; index < 60; index++) add(cache, index);
  assert.deepEqual(present(cache, 3), []);
});

test('a table that a flush is about to write stays, and one that nothing refers to yet', () => {
  const cache = cacheOf(4);
  const writing = add(cache, 0);
  writing.writing = true;
  const fresh = add(cache, 1, false);
  for (let index = 2; index < 50; index++) add(cache, index);
  assert.equal(cache.get(0), writing);
  assert.equal(cache.get(1), fresh);
});

test('only changed data is written', () => {
  const cache = cacheOf(4);
  const table = cache.add(0, 1_000_000, new Uint8Array(65_536), true);
  table.view.setUint32(8192 + 16, 7);
  table.markDirty(8192 + 16, 4);
  table.markDirty(12_288 - 4, 8);
  table.markDirty(65_535, 1);
  const writes: Parameters<typeof table.takeWrites>[0] = [];
  table.takeWrites(writes);
  assert.deepEqual(
    writes.map(({ at, bytes }) => [at, bytes.length]),
    [
      [8192, 8192],
      [61_440, 4096],
    ],
  );
  // A copy: what changes from now on is for the next flush.
  table.view.setUint32(8192 + 16, 8);
  assert.equal(writes[0]?.bytes[19], 7);
  assert.equal(table.isDirty, false);
});
