/** vCPUs and memory as a guest finds them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runPayload } from '../../support/tsvm-process.ts';

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
