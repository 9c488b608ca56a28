import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  PVPANIC_BANK,
  PVPANIC_CRASH_LOADED,
  PVPANIC_PANICKED,
  Pvpanic,
} from '../../../../vmm/devices/legacy/pvpanic.ts';
import { FakeRegisterBank } from '../../../support/fake-register-bank.ts';

function makePvpanic() {
  const bank = new FakeRegisterBank(PVPANIC_BANK);
  const events: number[] = [];
  bank.connect(new Pvpanic(bank, (each) => events.push(each)));
  return { bank, events };
}

test("Linux's pvpanic_probe finds all events, and a panic is told", () => {
  const { bank, events } = makePvpanic();
  assert.equal(bank.guestRead(0) & 0x03, 0x03);
  bank.guestWrite(0, 0x01);
  bank.guestWrite(0, 0x02);
  assert.deepEqual(events, [PVPANIC_PANICKED, PVPANIC_CRASH_LOADED]);
});

test('events that do not exist are dropped, at every width', () => {
  const { bank, events } = makePvpanic();
  bank.guestWrite(0, 0xf8);
  bank.guestWrite(0, 0xffffff00, 4);
  assert.deepEqual(events, []);
  bank.guestWrite(0, 0xff, 2);
  assert.deepEqual(events, [7]);
  assert.equal(bank.guestRead(0, 4), 7);
});
