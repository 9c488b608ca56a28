import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Geometry } from '../../../../../../../vmm/backends/disk/image/qcow2/header/geometry.ts';
import {
  bitRange,
  compressedHigh,
  compressedSpan,
  EntryKind,
  entryKind,
  hostOffset,
  isCopied,
  lowWord,
  ownedHigh,
} from '../../../../../../../vmm/backends/disk/image/qcow2/map/l2-entry.ts';

function geometry(changes: Partial<Geometry> = {}): Geometry {
  return {
    version: 3,
    clusterBits: 16,
    clusterBytes: 65_536,
    extendedL2: false,
    externalData: false,
    rawExternalData: false,
    l2EntryBytes: 8,
    l2Entries: 8192,
    tableSpanBytes: 2 ** 29,
    subclusterBytes: 65_536,
    subclusters: 1,
    refcountBits: 16,
    refcountBlockEntries: 32_768,
    ...changes,
  };
}

test('an entry with its own cluster keeps an offset above 4 GiB', () => {
  const offset = 0x0012_3456_7890_0000;
  const high = ownedHigh(offset);
  assert.equal(high, 0x8012_3456);
  assert.equal(hostOffset(high, lowWord(offset)), offset);
  assert.ok(isCopied(high));
});

test('flags are no part of an offset, up to bit 55', () => {
  assert.equal(hostOffset(0xff00_0000, 0x0000_01ff), 0);
  assert.equal(hostOffset(0x00ff_ffff, 0xffff_ffff), 2 ** 56 - 512);
});

test('the kind follows from flags and offset', () => {
  const plain = geometry();
  assert.equal(entryKind(0, 0, plain), EntryKind.UNALLOCATED);
  assert.equal(entryKind(0x8000_0000, 0x0005_0000, plain), EntryKind.STANDARD);
  assert.equal(entryKind(0, 1, plain), EntryKind.ZERO_PLAIN);
  assert.equal(entryKind(0x8000_0000, 0x0005_0001, plain), EntryKind.ZERO_ALLOCATED);
  assert.equal(entryKind(0x4000_0000, 0x0005_0000, plain), EntryKind.COMPRESSED);
});

test('only with an external data file a cluster can lie at offset 0', () => {
  assert.equal(entryKind(0x8000_0000, 0, geometry()), EntryKind.UNALLOCATED);
  assert.equal(entryKind(0x8000_0000, 0, geometry({ externalData: true })), EntryKind.STANDARD);
});

test('bit 0 is ignored with extended L2 entries', () => {
  assert.equal(entryKind(0, 1, geometry({ extendedL2: true })), EntryKind.UNALLOCATED);
});

test('a compressed descriptor has offset and sectors, for each cluster size', () => {
  for (let clusterBits = 9; clusterBits <= 21; clusterBits++) {
    const sized = geometry({ clusterBits, clusterBytes: 2 ** clusterBits });
    for (const offset of [2 ** 21 + 5, 2 ** 40 + 511, 2 ** 48 + 512]) {
      for (const length of [1, 300, 2 ** clusterBits - 1]) {
        const high = compressedHigh(offset, length, sized);
        const span = compressedSpan(high, lowWord(offset), sized);
        assert.equal(span.offset, offset);
        assert.ok(span.length >= length && span.length < length + 512);
        assert.equal((span.offset + span.length) % 512, 0);
      }
    }
  }
});

test('a compressed descriptor as QEMU writes it: 64 KiB clusters, sectors from bit 54 on', () => {
  const span = compressedSpan(0x4080_0000, 0x0005_0123, geometry());
  assert.deepEqual(span, { offset: 0x5_0123, length: 3 * 512 - 0x123 });
});

test('a range of bits', () => {
  assert.equal(bitRange(0, 32), 0xffff_ffff);
  assert.equal(bitRange(31, 32), 0x8000_0000);
  assert.equal(bitRange(4, 8), 0xf0);
  assert.equal(bitRange(5, 5), 0);
});
