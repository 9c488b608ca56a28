/** Which guests' memory the host is asked to have in huge pages. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bootMachine, type MachineConfig } from '../../../vmm/index.ts';
import { PAYLOAD } from '../../support/tsvm-process.ts';

/** A size that no other mapping of this process has. */
const MEMORY_BYTES = 77 * 2 ** 20;

/** Flags of the mapping that is the guest's memory (proc_pid_smaps(5)). */
function memoryFlags(): string[] {
  for (const [, from = '', to = '', flags = ''] of readFileSync(
    '/proc/self/smaps',
    'latin1',
  ).matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw.*\n(?:[A-Z].*\n)*?VmFlags: (.*)$/gm)) {
    if (Number(`0x${to}`) - Number(`0x${from}`) === MEMORY_BYTES) return flags.trim().split(' ');
  }
  throw new Error('the memory of the guest is not found');
}

async function isHuge(config: Partial<MachineConfig>): Promise<boolean> {
  const machine = await bootMachine({ kernelPath: PAYLOAD, memoryBytes: MEMORY_BYTES, ...config });
  try {
    return memoryFlags().includes('hg');
  } finally {
    await machine.close();
  }
}

test('memory is in huge pages, but not that of a guest that gives single pages back', async () => {
  assert.equal(await isHuge({}), true);
  assert.equal(await isHuge({ balloon: true }), false);
});
