/**
 * Debian's own kernels, with all that they have switched on: their mitigations, tracers, SIMD code,
 * a compressed image that unpacks itself. The soak program is their PID 1.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runSoak, soakInitrd } from '../../support/soak.ts';
import { type Flavour, installer, stockKernel } from '../../support/stock-kernels.ts';
import { runTsvm } from '../../support/tsvm-process.ts';

/** What differs from kernel to kernel; the default kernel's test runs all. */
const PARTS = ['copy-on-write', 'mappings', 'files', 'code', 'vectors', 'threads', 'exceptions'];

const KERNELS: readonly [series: string, flavour: Flavour][] = [
  ['5.10', 'cloud'],
  ['6.1', 'cloud'],
  ['6.1', 'generic'],
  ['6.1', 'rt'],
  ['6.12', 'cloud'],
  ['6.12', 'generic'],
  ['6.12', 'rt'],
];

for (const [series, flavour] of KERNELS) {
  test(`Debian's Linux ${series}, ${flavour}, 2 vCPUs`, async (t) => {
    const kernel = stockKernel(series, flavour);
    if ('missing' in kernel) {
      t.skip(kernel.missing);
      return;
    }
    const { end, output, failures, statistics } = await runSoak({
      kernelPath: kernel.kernelPath,
      initrdPath: soakInitrd(t),
      cpus: 2,
      memoryMiB: 512,
      parts: PARTS,
    });
    assert.equal(failures, 0, output.slice(-3000));
    assert.deepEqual(end, { reason: 'poweroff' });
    const complaint = /^.*(BUG:|WARNING: CPU|Oops|stall on|Call Trace).*$/m.exec(output)?.[0];
    assert.equal(complaint, undefined);
    // What is left to KVM is accesses of its own chips, by moves (88 to 8b): no instruction that
    // the interpreter does not know.
    const steps = Object.keys(statistics).filter((name) => name.startsWith('step-'));
    assert.deepEqual(
      steps.filter((name) => !/^step-8[89ab]$/.test(name)),
      [],
    );
  });
}

test('a stock kernel restarts by the reset vector, where it expects a BIOS', async (t) => {
  const kernel = stockKernel('6.12', 'cloud');
  if ('missing' in kernel) {
    t.skip(kernel.missing);
    return;
  }
  const { code, stdout } = await runTsvm(['boot', '--kernel', kernel.kernelPath], {
    timeoutMs: 300_000,
  });
  // Without a root disk, this kernel panics; without its driver of pvpanic, it then only restarts.
  assert.match(stdout, /Kernel panic - not syncing: VFS/);
  assert.equal(code, 0);
});

test('Debian’s installer unpacks its 40 MB of initial RAM disk, and comes to its menu', async (t) => {
  const files = installer();
  if ('missing' in files) {
    t.skip(files.missing);
    return;
  }
  const { stdout } = await runTsvm(
    ['boot', '--kernel', files.kernelPath, '--initrd', files.initrdPath, '--memory', '1G'].concat([
      '--console',
      'stdio',
    ]),
    {
      timeoutMs: 600_000,
      onStdout: (text, child) => {
        if (text.includes('Select a language')) child.kill('SIGTERM');
      },
    },
  );
  assert.ok(stdout.includes('Select a language'), stdout.slice(-3000));
});
