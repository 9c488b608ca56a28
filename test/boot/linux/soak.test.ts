/**
 * The soak program on the default guest's kernel: memory, code, registers and time are what programs
 * count on, however the kernel-mode engine executes them.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { hostProfile } from '../../../vmm/machine/host-profile.ts';
import { chooseKernelMode } from '../../../vmm/machine/kernel-mode.ts';
import { defaultKernel } from '../../support/linux-guest.ts';
import { runSoak, type SoakOptions, type SoakRun, soakInitrd } from '../../support/soak.ts';

/** As the engine has it. */
const DEFAULT_TUNING = { userBudget: 2000, translateAfter: 24, leavesStaleShadows: false };

const PARTS = [
  ...['copy-on-write', 'mappings', 'protection', 'files', 'code', 'code-of-others', 'vectors'],
  ...['vectors-in-signals', 'threads', 'shootdown', 'shootdown-remap', 'signals', 'exceptions'],
  ...['single-step', 'breakpoints', 'compat', 'processes'],
];

const isEngine =
  chooseKernelMode(hostProfile('/dev/kvm'), 'auto') === 'interpreter'
    ? {}
    : { skip: 'this host has no need of the kernel-mode engine' };

function soak(
  t: TestContext,
  options: Partial<SoakOptions> & Pick<SoakOptions, 'cpus'>,
): Promise<SoakRun> {
  return runSoak({
    ...defaultKernel(),
    initrdPath: soakInitrd(t),
    parts: PARTS,
    ...options,
  });
}

/** The end of a guest's output, for the message of an assertion. */
const tail = (output: string) => output.slice(-3000);

function assertPassed({ end, output, failures }: SoakRun): void {
  assert.equal(failures, 0, tail(output));
  assert.deepEqual(end, { reason: 'poweroff' });
  for (const part of PARTS) assert.ok(output.includes(`\nok ${part} `), `${part} ran`);
  const complaint = /^.*(BUG:|WARNING:|Oops|stall on|Call Trace).*$/m.exec(output)?.[0];
  assert.equal(complaint, undefined);
}

for (const cpus of [1, 2, 4]) {
  test(`${cpus} vCPUs, short stretches of programs interpreted`, isEngine, async (t) => {
    const run = await soak(t, { cpus });
    assertPassed(run);
    assert.ok(run.output.includes(`\nsoak: ${cpus} CPUs`), 'the kernel uses all of them');
    assert.ok((run.statistics['interpretedUser'] ?? 0) > 1_000_000, 'programs were interpreted');
    assert.ok((run.statistics['nativeRuns'] ?? 0) > 100, 'and ran natively');
  });
}

for (const cpus of [1, 2]) {
  test(`${cpus} vCPUs, all of programs native`, isEngine, async (t) => {
    const tuning = { ...DEFAULT_TUNING, userBudget: 0 };
    const run = await soak(t, { cpus, tuning });
    assertPassed(run);
    assert.ok((run.statistics['nativeRuns'] ?? 0) > 10_000, 'programs ran natively');
  });
}

test('2 vCPUs, code translated before it first runs', isEngine, async (t) => {
  const run = await soak(t, { cpus: 2, tuning: { ...DEFAULT_TUNING, translateAfter: 1 } });
  assertPassed(run);
  assert.ok((run.statistics['translations'] ?? 0) > 10_000, 'it was');
});

test('2 vCPUs, nothing translated', isEngine, async (t) => {
  const run = await soak(t, { cpus: 2, tuning: { ...DEFAULT_TUNING, translateAfter: 0 } });
  assertPassed(run);
  assert.equal(run.statistics['translations'] ?? 0, 0);
});

test('without zaps of shadow page tables it fails: it can', isEngine, async (t) => {
  const tuning = { ...DEFAULT_TUNING, leavesStaleShadows: true };
  const parts = ['mappings'];
  const { failures, output } = await soak(t, { cpus: 1, tuning, parts });
  // Or the program itself is broken, and does not come to its end.
  assert.notEqual(failures, 0, tail(output));
});
