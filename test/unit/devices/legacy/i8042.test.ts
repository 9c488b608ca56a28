import assert from 'node:assert/strict';
import { test } from 'node:test';
import { I8042, I8042_BANK } from '../../../../vmm/devices/legacy/i8042.ts';
import { FakeRegisterBank } from '../../../support/fake-register-bank.ts';

function makeController() {
  const dataBank = new FakeRegisterBank(I8042_BANK);
  const commandBank = new FakeRegisterBank(I8042_BANK);
  const events = { resets: 0 };
  const controller = new I8042({ dataBank, commandBank, onReset: () => (events.resets += 1) });
  dataBank.connect(controller.dataHandler);
  commandBank.connect(controller.commandHandler);
  return { controller, dataBank, commandBank, events };
}

test("Linux's i8042_flush gives up at once, without waking JavaScript", () => {
  const { dataBank, commandBank } = makeController();
  let reads = 0;
  while (commandBank.guestRead(0) & 0x01 && reads < 16) {
    dataBank.guestRead(0);
    reads += 1;
  }
  assert.equal(reads, 16, 'the buffer is never empty: no controller');
  assert.equal(commandBank.slowAccesses + dataBank.slowAccesses, 0);
});

test("Linux's kb_wait and reset command reset the guest", () => {
  const { commandBank, events } = makeController();
  assert.equal(commandBank.guestRead(0) & 0x02, 0, 'the input buffer is empty');
  commandBank.guestWrite(0, 0xfe);
  assert.equal(events.resets, 1);
});

test('only the command that pulses the reset line resets', () => {
  const { dataBank, commandBank, events } = makeController();
  for (let command = 0; command < 256; command++) {
    events.resets = 0;
    commandBank.guestWrite(0, command);
    assert.equal(events.resets, command >= 0xf0 && command % 2 === 0 ? 1 : 0, `${command}`);
  }
  events.resets = 0;
  for (let data = 0; data < 256; data++) dataBank.guestWrite(0, data);
  assert.equal(events.resets, 0);
});

test('odd offsets and widths do no harm', () => {
  const { controller, events } = makeController();
  for (const handler of [controller.commandHandler, controller.dataHandler]) {
    for (const width of [1, 2, 4]) {
      for (let offset = 0; offset < 4; offset++) {
        assert.ok(handler.read(offset, width) >= 0);
        handler.write(offset, width, 0xffffffff);
      }
    }
  }
  assert.equal(events.resets, 0);
});
