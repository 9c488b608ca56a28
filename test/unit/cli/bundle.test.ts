import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bundleScript } from '../../../vmm/cli/bundle-script.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';

const dist = join(packageRoot(), 'dist');
const skip = existsSync(join(dist, 'tsvm.cjs')) ? false : 'the bundle is not built: npm run setup';

for (const [bundle, bytecode] of [
  ['cli', 'cli'],
  ['cli', 'cli-qcow2'],
  ['image', 'image'],
] as const) {
  test(`V8 takes ${bytecode}.bytecode for ${bundle}.js`, { skip }, () => {
    const script = bundleScript(join(dist, `${bundle}.js`), join(dist, `${bytecode}.bytecode`));
    assert.equal(script.cachedDataRejected, false);
  });
}
