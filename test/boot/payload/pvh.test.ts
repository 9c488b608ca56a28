/** 32-bit kernels with a PVH note, which are entered in protected mode without paging. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { hostProfile } from '../../../vmm/machine/host-profile.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

const SOURCE = join(packageRoot(), 'test/support/guest-programs/pvh32.S');

function build(context: TestContext, ...defines: readonly string[]): string {
  const path = join(temporaryFolder(context), 'kernel');
  const link = ['-nostdlib', '-static', '-no-pie', '-Wl,--build-id=none', '-Wl,-z,noexecstack'];
  const place = ['-Wl,-e,pvh_start', '-Wl,-Ttext-segment=0x200000'];
  execFileSync('gcc', ['-m32', ...link, ...place, ...defines, SOURCE, '-o', path]);
  return path;
}

const boot = (kernel: string) =>
  runTsvm(
    [
      ...['boot', '--kernel', kernel, '--cmdline', 'hello, world', '--memory', '64M'],
      ...['--console', 'stdio'],
    ],
    { timeoutMs: 60_000 },
  );

for (const isPacked of [false, true]) {
  test(`a 32-bit ELF kernel is entered at its PVH note${isPacked ? ', compressed' : ''}`, async (context) => {
    let kernel = build(context);
    if (isPacked) {
      execFileSync('gzip', [kernel]);
      kernel += '.gz';
    }
    const { code, stdout, stderr } = await boot(kernel);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: 'PVH: hello, world\n' }, stderr);
  });
}

test('it can turn on 32-bit paging with VT-x or AMD-V; without, it is told why that fails', async (context) => {
  const { code, stdout, stderr } = await boot(build(context, '-DPAGING'));
  if (hostProfile('/dev/kvm').emulatesKernelMode) {
    assert.deepEqual({ code, stdout }, { code: 1, stdout: 'PVH: hello, world\n' }, stderr);
    assert.match(stderr, /warn: .*kernel is a 32-bit file: .* neither VT-x nor AMD-V/);
  } else {
    assert.deepEqual({ code, stdout }, { code: 0, stdout: 'PVH: hello, world\npaging\n' }, stderr);
    assert.doesNotMatch(stderr, /warn/);
  }
});
