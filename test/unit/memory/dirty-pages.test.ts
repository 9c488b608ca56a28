import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DirtyPages } from '../../../vmm/memory/dirty-pages.ts';

const HIGH_GPA = 2 ** 32;

/** Bitmaps of two regions with these pages set. */
function dirty(low: readonly number[], high: readonly number[]): DirtyPages {
  const bitmap = (pages: readonly number[]) => {
    const bytes = new Uint8Array(16);
    for (const page of pages) bytes[page >> 3] = (bytes[page >> 3] ?? 0) | (1 << (page & 7));
    return bytes;
  };
  return new DirtyPages([
    { gpa: 0, bitmap: bitmap(low) },
    { gpa: HIGH_GPA, bitmap: bitmap(high) },
  ]);
}

test('pages that adjoin are one run, which ends with its region', () => {
  const pages = dirty([0, 7, 8, 9, 64, 127], [0, 1]);
  assert.deepEqual(
    [...pages.runs()],
    [
      { gpa: 0, lengthBytes: 4096 },
      { gpa: 7 * 4096, lengthBytes: 3 * 4096 },
      { gpa: 64 * 4096, lengthBytes: 4096 },
      { gpa: 127 * 4096, lengthBytes: 4096 },
      { gpa: HIGH_GPA, lengthBytes: 2 * 4096 },
    ],
  );
  assert.equal(pages.count, 8);
});

test('nothing written, all written', () => {
  assert.deepEqual([...dirty([], []).runs()], []);
  const all = dirty(
    Array.from({ length: 128 }, (_, page) => page),
    [],
  );
  assert.deepEqual([...all.runs()], [{ gpa: 0, lengthBytes: 128 * 4096 }]);
});

test('a page is found by any address in it', () => {
  const pages = dirty([5], [3]);
  assert.ok(pages.has(5 * 4096) && pages.has(5 * 4096 + 4095) && pages.has(HIGH_GPA + 3 * 4096));
  assert.ok(!pages.has(6 * 4096) && !pages.has(HIGH_GPA) && !pages.has(2 ** 31));
});
