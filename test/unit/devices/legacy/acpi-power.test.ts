import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACPI_POWER_BANK, AcpiPower } from '../../../../vmm/devices/legacy/acpi-power.ts';
import { FakeRegisterBank } from '../../../support/fake-register-bank.ts';

function makePower() {
  const bank = new FakeRegisterBank(ACPI_POWER_BANK);
  const events = { powerOffs: 0 };
  bank.connect(new AcpiPower(bank, () => (events.powerOffs += 1)));
  return { bank, events };
}

test("ACPICA's acpi_hw_extended_sleep powers off", () => {
  const { bank, events } = makePower();
  bank.guestWrite(1, 0x80);
  assert.equal(events.powerOffs, 0, 'clearing WAK_STS is not a sleep');
  bank.guestWrite(0, (5 << 2) | (1 << 5));
  assert.equal(events.powerOffs, 1);
  assert.equal(bank.guestRead(1) & 0x80, 0, 'it never wakes');
});

test('only S5 with SLP_EN powers off', () => {
  const { bank, events } = makePower();
  for (let value = 0; value < 256; value++) {
    events.powerOffs = 0;
    bank.guestWrite(0, value);
    assert.equal(events.powerOffs, (value & 0x3c) === 0x34 ? 1 : 0, `${value}`);
  }
});

test('odd offsets and widths do no harm', () => {
  const { bank, events } = makePower();
  for (const width of [2, 4]) {
    assert.equal(bank.guestRead(0, width), 0);
    bank.guestWrite(1, 0xffffffff, width);
  }
  assert.equal(events.powerOffs, 0);
});
