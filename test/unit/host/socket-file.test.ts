/** Socket files: never taken from another VM, never left behind. */
import assert from 'node:assert/strict';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { TsvmError } from '../../../vmm/errors.ts';
import { openSocketFile } from '../../../vmm/host/socket-file.ts';
import { temporaryFolder } from '../../support/tsvm-process.ts';

function refused(path: string, message: RegExp): void {
  assert.throws(
    () => openSocketFile('the vsock socket', path),
    (error) =>
      error instanceof TsvmError && error.code === 'invalid-config' && message.test(error.message),
  );
}

test('the file is there while it is open', (t) => {
  const path = join(temporaryFolder(t), 'v');
  const file = openSocketFile('the vsock socket', path);
  assert.ok(existsSync(path));
  refused(path, /exists: another VM may use it/);
  assert.ok(existsSync(path));
  file.close();
  assert.ok(!existsSync(path));
});

test('a file that a dead VM has left is replaced', (t) => {
  const path = join(temporaryFolder(t), 'v');
  const dead = openSocketFile('the vsock socket', `${path}-dead`);
  renameSync(`${path}-dead`, path);
  dead.close();
  assert.ok(existsSync(path), 'nobody listens on it');
  openSocketFile('the vsock socket', path).close();
  assert.ok(!existsSync(path));
});

test('a file of another kind, and one that took its name later, stay', (t) => {
  const path = join(temporaryFolder(t), 'v');
  writeFileSync(path, 'precious');
  refused(path, /exists/);
  assert.ok(existsSync(path));
  const own = openSocketFile('the vsock socket', `${path}2`);
  renameSync(path, `${path}2`);
  own.close();
  assert.ok(existsSync(`${path}2`));
});

test('paths that cannot be', (t) => {
  refused(join(temporaryFolder(t), 'missing/v'), /cannot be created \(its folder does not exist\)/);
  refused(`/tmp/${'x'.repeat(103)}`, /longer than 107 bytes/);
});
