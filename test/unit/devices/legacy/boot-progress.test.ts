import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BOOT_PROGRESS_LENGTH_BYTES,
  BOOT_PROGRESS_WORD_COUNT,
  BootProgress,
} from '../../../../vmm/devices/legacy/boot-progress.ts';
import { FakeRegisterBank } from '../../../support/fake-register-bank.ts';

test('each byte is a stamp and none wakes JavaScript; other widths do no harm', () => {
  const bank = new FakeRegisterBank(BOOT_PROGRESS_LENGTH_BYTES, BOOT_PROGRESS_WORD_COUNT, 0);
  bank.connect(new BootProgress(bank));
  for (const value of [0x01, 0xaa, 0xff]) bank.guestWrite(0, value);
  assert.equal(bank.guestRead(0), 0);
  assert.deepEqual(bank.stamps, [0x01, 0xaa, 0xff]);
  assert.equal(bank.slowAccesses, 0);
  bank.guestWrite(0, 0x1234, 2);
  assert.equal(bank.guestRead(0, 4), 0);
  assert.equal(bank.stamps.length, 3);
});
