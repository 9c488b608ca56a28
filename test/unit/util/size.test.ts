import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatSize, parseSize } from '../../../vmm/util/size.ts';

test('sizes are read with their unit, bare numbers in the given one', () => {
  const mib = 2 ** 20;
  assert.equal(parseSize('512M', mib), 512 * mib);
  assert.equal(parseSize('512', mib), 512 * mib);
  assert.equal(parseSize('1.5G', mib), 1.5 * 2 ** 30);
  assert.equal(parseSize(' 2 GiB ', mib), 2 * 2 ** 30);
  assert.equal(parseSize('4096k', mib), 4 * mib);
});

test('an invalid size, or a fractional number of bytes, is undefined', () => {
  for (const text of ['', 'M', '-1M', '1X', '1e3', '0x10', '1.3K', '99999999T', '1 2']) {
    assert.equal(parseSize(text, 1), undefined, text);
  }
});

test('sizes are written in the largest unit', () => {
  assert.equal(formatSize(100), '100 bytes');
  assert.equal(formatSize(1.5 * 2 ** 30), '1.5 GiB');
});
