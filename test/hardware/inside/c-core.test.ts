/** The C core's tests, as scripts/test.sh built them, on the processor that is emulated here. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';

const FOLDER = join(packageRoot(), 'build/c-tests/test');

for (const name of readdirSync(FOLDER).filter((file) => file.endsWith('_test'))) {
  test(name, () => {
    const { status, stdout, stderr } = spawnSync(join(FOLDER, name), { encoding: 'utf8' });
    assert.equal(status, 0, stdout + stderr);
  });
}
