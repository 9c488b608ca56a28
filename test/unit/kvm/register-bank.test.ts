import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FastRegister } from '../../../vmm/bus/register-bank.ts';
import { encodeRegisters } from '../../../vmm/kvm/register-bank.ts';
import { runC } from '../../support/compiled-c.ts';
import { FakeInterruptLine, FakeRegisterBank } from '../../support/fake-register-bank.ts';
import { Random } from '../../support/random.ts';

/** The same registers as C writes them; the program prints their bytes. */
const C_SOURCE = `
#include <stdio.h>
#include "tsvm/register_bank_abi.h"
static const struct tsvm_register registers[] = {
  {.offset = 5, .width = 1, .read = TSVM_READ_WORD, .read_word = 4, .write = TSVM_WRITE_IGNORE,
   .after_read_word = TSVM_NO_WORD, .after_write_word = TSVM_NO_WORD},
  {.offset = 0x102, .width = 4, .read = TSVM_READ_WORD, .read_word = 1, .after_read_word = 2,
   .after_read_value = 0xc1, .write = TSVM_WRITE_RING, .after_write_word = 3,
   .after_write_value = 0xdeadbeef, .raise = 1},
  {.offset = 8, .width = 2, .write = TSVM_WRITE_CLEAR_BITS, .write_word = 7,
   .after_read_word = TSVM_NO_WORD, .after_write_word = TSVM_NO_WORD},
  {.offset = 9, .width = 1, .write = TSVM_WRITE_STAMP,
   .after_read_word = TSVM_NO_WORD, .after_write_word = TSVM_NO_WORD},
  {.offset = 1, .width = 1, .write = TSVM_WRITE_WORD, .write_word = 6,
   .after_read_word = TSVM_NO_WORD, .after_write_word = TSVM_NO_WORD},
  {.offset = 2, .width = 1, .write = TSVM_WRITE_BITS, .write_word = 5, .write_mask = 9,
   .after_read_word = TSVM_NO_WORD, .after_write_word = TSVM_NO_WORD},
  {.offset = 6, .width = 1, .read = TSVM_READ_COUNTED, .read_word = 3, .after_read_word = 8,
   .after_read_value = 32, .write = TSVM_WRITE_IGNORE, .after_write_word = TSVM_NO_WORD},
};
int main(void) { return fwrite(registers, sizeof registers, 1, stdout) != 1; }
`;

test('registers are encoded as C lays out struct tsvm_register', () => {
  const bytes = encodeRegisters([
    { offset: 5, width: 1, read: { word: 4 }, write: { kind: 'ignore' } },
    {
      offset: 0x102,
      width: 4,
      read: { word: 1, after: { word: 2, value: 0xc1 } },
      write: { kind: 'ring', after: { word: 3, value: 0xdeadbeef }, raise: true },
    },
    { offset: 8, width: 2, write: { kind: 'clear-bits', word: 7 } },
    { offset: 9, width: 1, write: { kind: 'stamp' } },
    { offset: 1, width: 1, write: { kind: 'word', word: 6 } },
    { offset: 2, width: 1, write: { kind: 'bits', word: 5, mask: 9 } },
    {
      offset: 6,
      width: 1,
      read: { word: 3, counted: { word: 8, limit: 32 } },
      write: { kind: 'ignore' },
    },
  ]);
  assert.deepEqual(Buffer.from(bytes), runC(C_SOURCE));
});

const LENGTH_BYTES = 16;
const WORDS = 8;
const RING_BYTES = 16;

/** Every behaviour, some with an update of a word that another register shows. */
const TABLE: readonly FastRegister[] = [
  { offset: 0, width: 1, read: { word: 0 }, write: { kind: 'ring', raise: true } },
  { offset: 0, width: 2, write: { kind: 'ring', after: { word: 0, value: 0x160 } } },
  { offset: 1, width: 1, read: { word: 1, after: { word: 1, value: 0x80c1 } } },
  { offset: 1, width: 4, read: { word: 1 }, write: { kind: 'word', word: 1 } },
  { offset: 4, width: 4, read: { word: 2 }, write: { kind: 'clear-bits', word: 2 } },
  { offset: 5, width: 1, write: { kind: 'clear-bits', word: 1 } },
  { offset: 6, width: 2, read: { word: 2 }, write: { kind: 'word', word: 2 } },
  { offset: 8, width: 4, write: { kind: 'ignore' } },
  { offset: 12, width: 1, write: { kind: 'stamp' } },
  { offset: 13, width: 1, read: { word: 2, counted: { word: 3, limit: 5 } } },
  { offset: 14, width: 1, write: { kind: 'word', word: 3 } },
];

/** Carries out the steps of its input on a native bank, one a line; prints what came of each. */
const BANK_PROGRAM = `
#include <stdio.h>
#include <sys/eventfd.h>
#include "src/bus/register_bank.h"
int main(void)
{
    struct tsvm_register table[32];
    struct register_bank bank;
    struct interrupt_line line;
    unsigned count, offset, width, value;
    char kind;
    int event = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
    if (scanf("%u", &count) != 1 || count > 32)
        return 1;
    for (unsigned i = 0; i < count * sizeof *table; i++) {
        if (scanf("%2x", &value) != 1)
            return 1;
        ((unsigned char *)table)[i] = (unsigned char)value;
    }
    interrupt_line_init(&line, event);
    if (register_bank_init(&bank, ${LENGTH_BYTES}, ${WORDS}, ${RING_BYTES}) ||
        register_bank_set_registers(&bank, table, count))
        return 1;
    bank.interrupt = &line;
    while (scanf(" %c %u %u %u", &kind, &offset, &width, &value) == 4) {
        if (kind == 'r') {
            unsigned found = 0;
            if (register_bank_read(&bank, offset, width, &found))
                printf("%u\\n", width == 4 ? found : found & ((1u << 8 * width) - 1));
            else
                printf("slow\\n");
        } else if (kind == 'w') {
            bool fast = register_bank_write(&bank, offset, width, value);
            eventfd_t raised;
            printf("%s%s\\n", fast ? "fast" : "slow",
                   eventfd_read(event, &raised) == 0 ? " raised" : "");
        } else {
            unsigned char bytes[${RING_BYTES}];
            unsigned drained = register_bank_drain(&bank, bytes, sizeof bytes);
            for (unsigned i = 0; i < drained; i++)
                printf("%u ", bytes[i]);
            printf("drained\\n");
        }
    }
    return 0;
}
`;

interface Step {
  readonly kind: 'r' | 'w' | 'd';
  readonly offset: number;
  readonly width: number;
  readonly value: number;
}

/** The same on the bank that stands for it in tests. */
function runOnFake(steps: readonly Step[]): string[] {
  const bank = new FakeRegisterBank({
    lengthBytes: LENGTH_BYTES,
    wordCount: WORDS,
    ringBytes: RING_BYTES,
  });
  const interrupt = new FakeInterruptLine();
  bank.setFastRegisters(TABLE);
  bank.connect({ read: () => 0, write: () => {} }, interrupt);
  return steps.map(({ kind, offset, width, value }) => {
    const { slowAccesses } = bank;
    if (kind === 'd') return [...bank.drainRing(), 'drained'].join(' ');
    if (kind === 'r') {
      const found = bank.guestRead(offset, width);
      return bank.slowAccesses > slowAccesses ? 'slow' : `${found}`;
    }
    bank.guestWrite(offset, value, width);
    const speed = bank.slowAccesses > slowAccesses ? 'slow' : 'fast';
    return interrupt.take() > 0 ? `${speed} raised` : speed;
  });
}

test('the fake register bank behaves like the native one', () => {
  const random = new Random(1);
  const steps = Array.from({ length: 20_000 }, (): Step => {
    const kind = random.pick(['r', 'w', 'w', 'w', 'r', 'r', 'w', 'd'] as const);
    const width = random.pick([1, 2, 4]);
    const value = random.below(2 ** 32) % 2 ** (8 * width);
    // Mostly registers of the table, and all else that fits.
    const { offset, width: own } = random.pick(TABLE);
    if (random.below(4) > 0) return { kind, offset, width: own, value: value % 2 ** (8 * own) };
    return { kind, offset: random.below(LENGTH_BYTES - width + 1), width, value };
  });
  const lines = steps.map(
    ({ kind, offset, width, value }) => `${kind} ${offset} ${width} ${value}`,
  );
  const table = Buffer.from(encodeRegisters(TABLE)).toString('hex');
  const output = runC(BANK_PROGRAM, {
    sources: ['src/bus/register_bank.c', 'src/util/interrupt_line.c'],
    input: [`${TABLE.length}`, table.replaceAll(/../g, '$& '), ...lines, ''].join('\n'),
  });
  const native = output.toString().trimEnd().split('\n');
  const fake = runOnFake(steps);
  const difference = steps.findIndex((_, index) => native[index] !== fake[index]);
  assert.equal(native.length, steps.length);
  assert.equal(difference, -1, `${lines[difference]}: ${native[difference]}, ${fake[difference]}`);
  for (const outcome of ['slow', 'fast', 'fast raised', 'slow', 'drained']) {
    assert.ok(fake.includes(outcome), `some step ends as "${outcome}"`);
  }
});
