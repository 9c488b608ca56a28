/** vCPUs and memory as a guest finds them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PAYLOAD, runPayload, runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

for (const [name, bytes, option] of [
  ['16 MiB, the least', 16 * MIB, '16M'],
  ['3 GiB, up to the device hole', 3 * GIB, '3G'],
  ['5 GiB, on both sides of the device hole', 5 * GIB, '5G'],
] as const) {
  test(`memory: ${name}, is all there`, async () => {
    const { code, stdout } = await runPayload(`tests=memory memory=${bytes}`, ['--memory', option]);
    assert.match(stdout, /^ok memory/m, stdout);
    assert.equal(code, 0);
  });
}

for (const cpus of [1, 2, 4, 32]) {
  test(`${cpus} vCPUs start by INIT and SIPI`, async () => {
    const { stdout } = await runPayload(`tests=smp cpus=${cpus}`, ['--cpus', String(cpus)]);
    assert.match(stdout, /^ok smp/m, stdout);
  });
}

test('the ACPI tables are found, and a power-off by them ends with code 0', async () => {
  const words = 'tests=acpi,cpuid,smp cpus=2 exit=acpi';
  const args = ['boot', '--kernel', PAYLOAD, '--cpus', '2', '--append', words];
  const { code, stdout } = await runTsvm(args);
  assert.match(stdout, /^done passed=3 failed=0 skipped=0/m, stdout);
  assert.equal(code, 0);
});

test('on kvm-pvm, KVM’s emulator runs the same guest as the interpreter', async (t) => {
  const metrics = join(temporaryFolder(t), 'metrics.json');
  const options = ['--engine', 'emulator', '--cpus', '2', '--metrics', metrics];
  const words = 'tests=memory,acpi,cpuid,smp,serial-flood cpus=2 count=10';
  const { code, stdout, stderr } = await runTsvm(
    ['boot', '--kernel', PAYLOAD, '--append', words].concat(options),
  );
  if (stderr.includes('needs no engine')) return t.skip('this host has VT-x or AMD-V');
  assert.match(readFileSync(metrics, 'utf8'), /"kernelMode": "emulator"/);
  assert.match(stdout, /^done passed=5 failed=0/m, stdout);
  assert.equal(code, 0);
});
