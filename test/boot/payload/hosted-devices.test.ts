/** Devices that TypeScript serves, with a hostile driver under KVM. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { runPayload, temporaryFolder } from '../../support/tsvm-process.ts';

test('balloon and console survive a hostile driver, and work after it', async (context) => {
  const socket = join(temporaryFolder(context), 'port.sock');
  const { code, stdout, stderr } = await runPayload('tests=balloon,console,rng', [
    ...['--balloon', '--port', `agent=${socket}`],
  ]);
  for (const name of ['balloon', 'console', 'rng']) {
    assert.match(stdout, new RegExp(`^ok ${name}\\b`, 'm'), stdout + stderr);
  }
  assert.equal(code, 0);
});
