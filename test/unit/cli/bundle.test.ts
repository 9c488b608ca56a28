import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Script } from 'node:vm';
import { packageRoot } from '../../../vmm/util/package-root.ts';

const filename = join(packageRoot(), 'dist/cli.js');
const skip = existsSync(filename) ? false : 'the bundle is not built: npm run setup';

test('V8 takes the bundle’s bytecode', { skip }, () => {
  const source = readFileSync(filename, 'latin1');
  const cachedData = readFileSync(join(packageRoot(), 'dist/cli.bytecode'));
  assert.equal(new Script(source, { filename, cachedData }).cachedDataRejected, false);
});
