/**
 * Programs in the form of a bzImage without a 64-bit entry: they are entered by the 32-bit boot protocol
 * (Linux's Documentation/arch/x86/boot.rst), and say on the serial port whether that was kept.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { hostProfile } from '../../../vmm/machine/host-profile.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';
import { buildBzImage, CODE_OFFSET } from '../../unit/loader/kernel-fixtures.ts';

/** Sends "32\n" to COM1 if the entry state is right, "bad\n" otherwise, and resets by the i8042. */
const PROGRAM = Buffer.from(
  [
    'ba f8 03 00 00', //             mov   edx, 0x3f8
    '81 be 02 02 00 00 48 64 72 53', // cmp dword [esi + 0x202], "HdrS"
    '75 27', //                      jne   bad
    '8c c8 83 f8 10 75 20', //       mov   eax, cs; cmp eax, 0x10; jne bad
    '8c d8 83 f8 18 75 19', //       mov   eax, ds; cmp eax, 0x18; jne bad
    '89 d8 09 e8 09 f8 75 11', //    mov   eax, ebx; or eax, ebp; or eax, edi; jnz bad
    'b0 33 ee b0 32 ee b0 0a ee', // "32\n"
    'b0 fe e6 64 f4 eb fd', //       mov   al, 0xfe; out 0x64, al; hlt; jmp to the hlt
    '90', //                         nop
    'b0 62 ee b0 61 ee b0 64 ee b0 0a ee', // bad: "bad\n"
    'b0 fe e6 64 f4 eb fd',
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
);

/** Protocol 2.12 states the entries: without a 64-bit one it is a 32-bit kernel. */
function program(t: TestContext, version: number): string {
  const image = buildBzImage(Buffer.alloc(4096, 0xab), 0x10000);
  image.writeUInt16LE(version, 0x206);
  image.writeUInt16LE(0, 0x236);
  image.writeUInt32LE(0, 0x248);
  image.writeUInt32LE(0, 0x24c);
  PROGRAM.copy(image, CODE_OFFSET);
  const path = join(temporaryFolder(t), 'program');
  writeFileSync(path, image);
  return path;
}

const boot = (path: string) =>
  runTsvm(['boot', '--kernel', path, '--memory', '64M', '--console', 'stdio']);

test('a bzImage that states no 64-bit entry is entered by the 32-bit boot protocol', async (t) => {
  const { code, stdout, stderr } = await boot(program(t, 0x020b));
  assert.deepEqual({ code, stdout }, { code: 0, stdout: '32\n' }, stderr);
  assert.doesNotMatch(stderr, /warn/);
});

test('a 32-bit kernel runs with VT-x or AMD-V, and is refused without', async (t) => {
  const { code, stdout, stderr } = await boot(program(t, 0x020f));
  if (hostProfile('/dev/kvm').emulatesKernelMode) {
    assert.equal(code, 125);
    assert.match(stderr, /program has no 64-bit entry, it is a 32-bit kernel.*use a 64-bit kernel/);
  } else {
    assert.deepEqual({ code, stdout }, { code: 0, stdout: '32\n' }, stderr);
  }
});
