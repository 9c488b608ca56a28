import assert from 'node:assert/strict';
import { test } from 'node:test';
import { showsImpossibleFlags } from './emulator-fault.ts';

const panic = (flags: string) =>
  `[    8.717291] RSP: 0000:ffffffff81c03e80 EFLAGS: ${flags}\n[    8.717291] RAX: 0000000000000075`;

test('flags that no processor has are told from those of a faulty guest', () => {
  for (const flags of ['00156666', '00010200', '00010023', '0000020a', '00008202', '00400202']) {
    assert.ok(showsImpossibleFlags(panic(flags)), flags);
  }
  for (const flags of ['00010246', '00000002', '00210ed7', '00010686']) {
    assert.ok(!showsImpossibleFlags(panic(flags)), flags);
  }
  assert.ok(showsImpossibleFlags(panic('00010246') + panic('00156666')));
  assert.ok(!showsImpossibleFlags('a test that failed otherwise'));
});
