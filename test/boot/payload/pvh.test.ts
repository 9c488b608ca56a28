/** 32-bit kernels with a PVH note, which are entered in protected mode without paging. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { hostProfile } from '../../../vmm/machine/host-profile.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

const KERNEL = join(packageRoot(), 'build/payload/pvh32.elf');
const PAGING_KERNEL = join(packageRoot(), 'build/payload/pvh32-paging.elf');

const boot = (kernel: string) =>
  runTsvm([
    ...['boot', '--kernel', kernel, '--cmdline', 'hello, world', '--memory', '64M'],
    ...['--console', 'stdio'],
  ]);

for (const isPacked of [false, true]) {
  test(`a 32-bit ELF kernel is entered at its PVH note${isPacked ? ', compressed' : ''}`, async (context) => {
    let kernel = KERNEL;
    if (isPacked) {
      kernel = join(temporaryFolder(context), 'kernel.gz');
      writeFileSync(kernel, gzipSync(readFileSync(KERNEL)));
    }
    const { code, stdout, stderr } = await boot(kernel);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: 'PVH: hello, world\n' }, stderr);
  });
}

test('it can turn on 32-bit paging with VT-x or AMD-V; without, it is told why that fails', async () => {
  const { code, stdout, stderr } = await boot(PAGING_KERNEL);
  if (hostProfile('/dev/kvm').emulatesKernelMode) {
    assert.deepEqual({ code, stdout }, { code: 1, stdout: 'PVH: hello, world\n' }, stderr);
    assert.match(stderr, /warn: .* is a 32-bit file: .* neither VT-x nor AMD-V/);
  } else {
    assert.deepEqual({ code, stdout }, { code: 0, stdout: 'PVH: hello, world\npaging\n' }, stderr);
    assert.doesNotMatch(stderr, /warn/);
  }
});
