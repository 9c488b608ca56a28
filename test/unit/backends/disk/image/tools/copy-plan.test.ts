import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DiskImage } from '../../../../../../vmm/backends/disk/image/image.ts';
import {
  type CopyPlanOptions,
  copyPlan,
} from '../../../../../../vmm/backends/disk/image/tools/copy-plan.ts';
import { qcow2InMemory, rawInMemory } from '../../../../../support/memory-images.ts';

const KIB = 1024;
const OPTIONS: CopyPlanOptions = {
  unitBytes: 64 * KIB,
  chunkBytes: 1024 * KIB,
  copyHoles: false,
  leaveUnallocated: false,
};

/** The plan in KiB: `copy 0-64`. */
function plan(sources: readonly DiskImage[], options: Partial<CopyPlanOptions> = {}): string[] {
  return [...copyPlan(sources, { ...OPTIONS, ...options })].map(
    ({ action, offset, length }) => `${action} ${offset / KIB}-${(offset + length) / KIB}`,
  );
}

test('copied ranges cover whole units and are divided by chunks', () => {
  const image = rawInMemory(4096 * KIB, [
    [100 * KIB, 8 * KIB, 1],
    [1000 * KIB, 1500 * KIB, 2],
  ]);
  assert.deepEqual(plan([image]), [
    'zero 0-64',
    'copy 64-128',
    'zero 128-960',
    'copy 960-1024',
    'copy 1024-2048',
    'copy 2048-2560',
    'zero 2560-4096',
  ]);
  assert.deepEqual(plan([image], { unitBytes: 4 * KIB }).slice(0, 4), [
    'zero 0-100',
    'copy 100-108',
    'zero 108-1000',
    'copy 1000-1024',
  ]);
  assert.deepEqual(plan([image], { copyHoles: true, chunkBytes: 2048 * KIB }), [
    'copy 0-2048',
    'copy 2048-4096',
  ]);
});

test('the last unit ends where the image does', () => {
  assert.deepEqual(plan([rawInMemory(100 * KIB)]), ['zero 0-100']);
  assert.deepEqual(plan([rawInMemory(100 * KIB, [[96 * KIB, 4 * KIB, 1]])]), [
    'zero 0-64',
    'copy 64-100',
  ]);
  assert.deepEqual(plan([rawInMemory(0)]), []);
});

test('sources follow each other, and may meet inside a unit', () => {
  const first = rawInMemory(96 * KIB);
  const second = rawInMemory(160 * KIB, [[0, 4 * KIB, 1]]);
  assert.deepEqual(plan([first, second]), ['zero 0-64', 'copy 64-128', 'zero 128-256']);
});

test('many short pieces in one unit are copied once', () => {
  const parts = Array.from({ length: 8 }, (_, i) => [i * 8 * KIB, 4 * KIB, 1] as const);
  assert.deepEqual(plan([rawInMemory(128 * KIB, parts)]), ['copy 0-64', 'zero 64-128']);
});

test('data only in the base is skipped; zeroes above it are not', () => {
  const base = rawInMemory(512 * KIB, [[0, 512 * KIB, 1]]);
  const middle = qcow2InMemory(256 * KIB, {}, base);
  const top = qcow2InMemory(512 * KIB, {}, middle);
  middle.writeSync(64 * KIB, Buffer.alloc(4 * KIB, 2));
  top.writeSync(0, Buffer.alloc(4 * KIB, 3));
  const leave = { leaveUnallocated: true };
  assert.deepEqual(plan([top], leave), ['copy 0-64', 'leave 64-512']);
  // The middle image is shorter, so that the base does not show past its end.
  assert.deepEqual(plan([top], { ...leave, base }), [
    'copy 0-128',
    'leave 128-256',
    'zero 256-512',
  ]);
  assert.deepEqual(plan([top]), ['copy 0-256', 'zero 256-512']);
});
