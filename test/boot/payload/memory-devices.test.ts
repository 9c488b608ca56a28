/** Devices of memory, with a driver under KVM that asks for what it may not have. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runPayload, temporaryFolder } from '../../support/tsvm-process.ts';

const WORD_BYTES = 8;
const PAGE_BYTES = 4096;

/** Each word is its own index. */
function pattern(bytes: number): Buffer {
  const words = BigUint64Array.from({ length: bytes / WORD_BYTES }, (_, index) => BigInt(index));
  return Buffer.from(words.buffer);
}

test('memory that was not plugged, and files as memory, of which one is read-only', async (context) => {
  const folder = temporaryFolder(context);
  const [readOnly, writable] = [join(folder, 'ro'), join(folder, 'rw')];
  // No multiple of 2 MiB: a page of zeroes follows.
  const content = pattern(2 ** 21 - PAGE_BYTES);
  writeFileSync(readOnly, content);
  writeFileSync(writable, pattern(2 ** 22));
  // One at a time, as the payload's page tables do not outlast a test.
  for (const name of ['mem', 'pmem']) {
    const { code, stdout, stderr } = await runPayload(`tests=${name}`, [
      ...['--memory', '128M,max=256M', '--pmem', `${readOnly},ro`, '--pmem', writable],
    ]);
    assert.match(stdout, new RegExp(`^ok ${name}\\b`, 'm'), stdout + stderr);
    assert.equal(code, 0);
  }
  assert.ok(readFileSync(readOnly).equals(content));
  const expected = pattern(2 ** 22);
  for (let at = 0; at < expected.length; at += PAGE_BYTES) {
    expected.writeBigUInt64LE(BigInt(at / WORD_BYTES + 1), at);
  }
  assert.ok(readFileSync(writable).equals(expected));
});
