import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeRegisters } from '../../../vmm/kvm/register-bank.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';

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
};
int main(void) { return fwrite(registers, sizeof registers, 1, stdout) != 1; }
`;

test('registers are encoded as C lays out struct tsvm_register', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'program');
  const include = join(packageRoot(), 'kvm-addon/include');
  execFileSync('gcc', ['-x', 'c', '-', '-I', include, '-o', program], { input: C_SOURCE });
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
  ]);
  assert.deepEqual(Buffer.from(bytes), execFileSync(program));
});
