import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExitSlot } from '../../../vmm/kvm/exit-slots.ts';
import { runC } from '../../support/compiled-c.ts';

/** Slots as a vCPU thread writes them. */
const WRITER = `
#include <stdio.h>
#include "tsvm/exit_slot_abi.h"
static const struct tsvm_exit_slot slots[] = {
  {.state = TSVM_EXIT_IDLE, .kind = TSVM_EXIT_READ},
  {.state = TSVM_EXIT_PENDING, .kind = TSVM_EXIT_READ, .bank = 3, .offset = 0x14, .width = 8,
   .data_low = 0xfedcba98, .data_high = 0x76543210},
  {.state = TSVM_EXIT_PENDING, .kind = TSVM_EXIT_WRITE},
  {.state = TSVM_EXIT_PENDING, .kind = TSVM_EXIT_SHUTDOWN},
  {.state = TSVM_EXIT_PENDING, .kind = TSVM_EXIT_FAILED},
};
int main(void) { return fwrite(slots, sizeof slots, 1, stdout) != 1; }
`;

/** Says what JavaScript made of the second of two slots. */
const READER = `
#include <stdio.h>
#include "tsvm/exit_slot_abi.h"
int main(void)
{
    struct tsvm_exit_slot slots[2];
    if (fread(slots, sizeof slots, 1, stdin) != 1)
        return 1;
    printf("%d %u %u\\n", slots[1].state == TSVM_EXIT_CLAIMED, slots[1].data_low,
           slots[1].data_high);
    return 0;
}
`;

test('exit slots are read as C writes them', () => {
  const bytes = runC(WRITER);
  const memory = new Uint8Array(bytes).buffer;
  const slot = new ExitSlot(memory, 1);
  assert.deepEqual(
    {
      pending: slot.pending,
      bank: slot.bank,
      offset: slot.offset,
      width: slot.width,
      dataLow: slot.dataLow,
      dataHigh: slot.dataHigh,
    },
    {
      pending: true,
      bank: 3,
      offset: 0x14,
      width: 8,
      dataLow: 0xfedcba98,
      dataHigh: 0x76543210,
    },
  );
  assert.equal(new ExitSlot(memory, 0).pending, false);
  const kinds = [1, 2, 3, 4].map((cpu) => new ExitSlot(memory, cpu).kind);
  assert.deepEqual(kinds, ['read', 'write', 'shutdown', 'failed']);
});

test('the answer is at the offset where C reads it', () => {
  const memory = new ArrayBuffer(2 * 64);
  const slot = new ExitSlot(memory, 1);
  slot.claim();
  slot.answer(0x89abcdef, 0x1234567);
  const answer = runC(READER, { input: new Uint8Array(memory) })
    .toString()
    .trim();
  assert.equal(answer, `1 ${0x89abcdef} ${0x1234567}`);
});
