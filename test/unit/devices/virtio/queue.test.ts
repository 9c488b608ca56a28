import assert from 'node:assert/strict';
import { test } from 'node:test';
import { queueConfig, resetQueue } from '../../../../vmm/devices/virtio/queue.ts';

test('a queue after reset has the largest size and is not ready', () => {
  assert.deepEqual(resetQueue(128), {
    ready: false,
    size: 128,
    descriptor: { low: 0, high: 0 },
    available: { low: 0, high: 0 },
    used: { low: 0, high: 0 },
  });
});

test('halves are joined beyond 32 bits', () => {
  const queue = resetQueue(8);
  queue.descriptor.low = 0xffff_fff0;
  queue.descriptor.high = 1;
  queue.available.low = 0x1002;
  queue.used.low = 0x2004;
  assert.deepEqual(queueConfig(3, queue, 8), {
    index: 3,
    size: 8,
    descriptorGpa: 0x1_ffff_fff0,
    availableGpa: 0x1002,
    usedGpa: 0x2004,
  });
});

test('queue size 0, not a power of two, above the maximum', () => {
  for (const size of [0, 3, 6, 65, 128, 0x1_0000, 0x8000_0000, 0xffff_ffff]) {
    const queue = resetQueue(64);
    queue.size = size;
    assert.match(String(queueConfig(0, queue, 64)), /size/, `${size}`);
  }
});

test('rings unaligned', () => {
  const cases = [
    ['descriptor', 8],
    ['available', 1],
    ['used', 2],
  ] as const;
  for (const [part, low] of cases) {
    const queue = resetQueue(64);
    queue[part].low = low;
    assert.match(String(queueConfig(0, queue, 64)), /address/, part);
  }
});

test('addresses that no guest memory can have', () => {
  for (const part of ['descriptor', 'available', 'used'] as const) {
    const queue = resetQueue(64);
    queue[part].high = 0xffff_ffff;
    assert.match(String(queueConfig(0, queue, 64)), /address/, part);
  }
});
