/**
 * Guests whose kernels do what no kernel does: page tables, code, descriptors and instructions as
 * hostile as they come. They may end themselves; nothing else happens.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bootMachine, type MachineConfig, type MachineEnd } from '../../../vmm/index.ts';
import { ConsoleOutput } from '../../support/console-output.ts';
import { PAYLOAD, runPayload } from '../../support/tsvm-process.ts';

/** Tests of the payload that run at CPL 0, each by its name there. */
const ON_ONE_CPU = [
  'cpl0-tables-loop',
  'cpl0-tables-alias',
  'cpl0-tables-nowhere',
  'cpl0-tables-rights',
  'cpl0-tables-user',
  'cpl0-code-cross',
  'cpl0-code-nowhere',
  'cpl0-code-self',
  'cpl0-segments',
  'cpl0-registers',
  'cpl0-nested',
  'cpl0-breakpoints',
  'cpl0-endless-tables',
  'cpl0-endless-roots',
  'cpl0-endless-code',
  'cpl0-iret',
  'cpl0-interrupts',
];
const ON_TWO_CPUS = ['race-tables', 'race-code', 'opcodes-cpl0', 'opcodes-cpl3'];

test('page tables, code, descriptors and nested exceptions conform to the manual', async () => {
  const { code, stdout, stderr } = await runPayload(`tests=${ON_ONE_CPU.join(',')}`, [
    ...['--memory', '64M'],
  ]);
  for (const name of ON_ONE_CPU) assert.match(stdout, new RegExp(`^ok ${name}\\b`, 'm'), stderr);
  assert.equal(code, 0);
});

for (const name of ON_TWO_CPUS) {
  test(`${name}, with a second vCPU`, async () => {
    const { code, stdout, stderr } = await runPayload(`tests=${name}`, ['--cpus', '2']);
    assert.match(stdout, new RegExp(`^ok ${name}\\b`, 'm'), stdout + stderr);
    assert.equal(code, 0);
  });
}

for (const name of [
  'end-without-idt',
  'end-idt-nowhere',
  'end-gdt-nowhere',
  'end-gdt-not-canonical',
  'end-gdt-empty',
  'end-cr3-device',
  'end-stack-nowhere',
  'end-tss-nowhere',
]) {
  test(`${name}: a triple fault, which ends the guest with code 1`, async () => {
    const { code, stderr, stdout } = await runPayload(`tests=${name}`);
    assert.match(stderr, /triple fault/, stdout);
    assert.equal(code, 1);
  });
}

/** Time for a random guest; then it is stopped. */
const CHAOS_MS = 2000;

/** Runs random code at CPL 0 and 3 until the guest is dead, done or out of time. */
async function runChaos(seed: number): Promise<MachineEnd> {
  const config: MachineConfig = {
    kernelPath: PAYLOAD,
    appendCmdline: `tests=chaos seed=${seed} rounds=5000`,
    cpus: 1,
    memoryBytes: 64 * 2 ** 20,
    acpi: false,
  };
  const machine = await bootMachine(config, {
    console: new ConsoleOutput(),
  });
  const timer = setTimeout(() => machine.stop(), CHAOS_MS);
  try {
    machine.start();
    return await machine.ended;
  } finally {
    clearTimeout(timer);
    await machine.close();
  }
}

test('random code affects only its own guest, not a neighbour', async () => {
  const neighbour = runPayload('tests=memory,smp,serial-flood cpus=2 count=2000', ['--cpus', '2']);
  for (let seed = 1; seed <= 20; seed++) {
    const end = await runChaos(seed);
    assert.notEqual(end.reason, 'failed', `seed ${seed}: ${JSON.stringify(end)}`);
  }
  const { stdout } = await neighbour;
  assert.match(stdout, /^ok memory/m);
  assert.match(stdout, /^ok smp/m);
});
