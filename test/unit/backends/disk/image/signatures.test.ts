import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  formatBySignature,
  signatureOf,
} from '../../../../../vmm/backends/disk/image/signatures.ts';

test('a file that is too short for a signature, or empty, has none', () => {
  for (const start of ['', 'Q', 'QFI', 'LUKS\xba', 'vhdxfil', '\0'.repeat(128)]) {
    assert.equal(formatBySignature(Buffer.from(start, 'latin1')), undefined, start);
  }
});

test('unreadable files and other objects have none; a pipe is not waited for', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-signatures-'));
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  writeFileSync(join(folder, 'image'), 'QFI\xfb\0\0\0\x03', 'latin1');
  assert.equal(signatureOf(join(folder, 'image')), 'qcow2');
  for (const path of ['pipe', 'nothing', '.', '/dev/null', '/dev/tty']) {
    assert.equal(signatureOf(join(folder, path)), undefined, path);
  }
  rmSync(folder, { recursive: true });
});
