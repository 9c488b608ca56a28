import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statusAction } from '../../../../vmm/devices/virtio/status.ts';

// Virtio 1.2, 2.1: ACKNOWLEDGE 1, DRIVER 2, DRIVER_OK 4, FEATURES_OK 8, NEEDS_RESET 64, FAILED 128.

test('a driver goes through the sequence of section 3.1.1, step by step', () => {
  assert.equal(statusAction(0, 1), 'none');
  assert.equal(statusAction(1, 3), 'none');
  assert.equal(statusAction(3, 11), 'negotiate');
  assert.equal(statusAction(11, 15), 'activate');
  assert.equal(statusAction(0, 3), 'none', 'both first steps in one write');
});

test('writing the same status again changes nothing and is legal', () => {
  for (const status of [1, 3, 11, 15, 15 | 64, 15 | 128]) {
    assert.equal(statusAction(status, status), 'none');
  }
});

test('every other transition among all pairs of bytes is illegal', () => {
  const legal = new Set(['0>1', '0>3', '1>3', '3>11', '11>15']);
  for (let from = 0; from < 256; from += 1) {
    for (let to = 1; to < 256; to += 1) {
      const lostOwn = (from & 128) !== 0 && (to & 128) === 0;
      const claimed = (to & 64) !== 0 && (from & 64) === 0;
      const sequence = `${from & 63}>${to & 63}`;
      const expected = !lostOwn && !claimed && ((from & 63) === (to & 63) || legal.has(sequence));
      assert.equal(statusAction(from, to) !== undefined, expected, `${from} to ${to}`);
    }
  }
});

test('reserved bits and values beyond a byte are illegal', () => {
  assert.equal(statusAction(0, 0x101), undefined);
  assert.equal(statusAction(3, 0x8000000b), undefined);
  assert.equal(statusAction(0, 0x11), undefined);
});

test('FAILED may be set at any time, without affecting the sequence', () => {
  for (const status of [0, 1, 3, 11, 15]) assert.equal(statusAction(status, status | 128), 'none');
  assert.equal(statusAction(3 | 128, 11 | 128), 'negotiate');
  assert.equal(statusAction(3 | 128, 11), undefined, 'a driver cannot clear it');
});

test('DEVICE_NEEDS_RESET belongs to the device', () => {
  assert.equal(statusAction(15, 15 | 64), undefined, 'a driver cannot set it');
  assert.equal(statusAction(15 | 64, 15 | 64 | 128), 'none', 'a driver writes back what it read');
});
