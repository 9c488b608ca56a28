import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOOT_MSRS } from '../../../../vmm/arch/x86_64/msrs.ts';

test('fast strings are on and all memory is write-back, the first MiB too', () => {
  assert.equal(BOOT_MSRS.get(0x1a0), 1n);
  const defType = BOOT_MSRS.get(0x2ff) ?? 0n;
  assert.equal(defType & 0xffn, 6n, 'the default type is write-back');
  assert.notEqual(defType & 0x800n, 0n, 'MTRRs are on');
  assert.equal(defType & 0x400n, 0n, 'the fixed ranges, all uncached after reset, are off');
});
