import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOOT_PROGRESS_BANK, BootProgress } from '../../../../vmm/devices/legacy/boot-progress.ts';
import { FakeRegisterBank } from '../../../support/fake-register-bank.ts';

test('each byte is a stamp and none wakes JavaScript; other widths do no harm', () => {
  const bank = new FakeRegisterBank(BOOT_PROGRESS_BANK);
  const stamps: number[] = [];
  const progress = new BootProgress(bank, ({ value }) => stamps.push(value));
  bank.connect(progress);
  for (const value of [0x01, 0xaa, 0xff]) bank.guestWrite(0, value);
  assert.equal(bank.guestRead(0), 0);
  progress.poll();
  assert.deepEqual(stamps, [0x01, 0xaa, 0xff]);
  assert.equal(bank.slowAccesses, 0);
  bank.guestWrite(0, 0x1234, 2);
  assert.equal(bank.guestRead(0, 4), 0);
  progress.poll();
  assert.equal(stamps.length, 3);
});
