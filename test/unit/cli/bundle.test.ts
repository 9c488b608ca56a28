import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bundleScript } from '../../../vmm/cli/bundle-script.ts';
import { PROGRAMS } from '../../../vmm/cli/programs.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';

const dist = join(packageRoot(), 'dist');
const skip = existsSync(join(dist, 'tsvm.cjs')) ? false : 'the bundle is not built: npm run setup';

for (const { name } of PROGRAMS) {
  test(`V8 accepts ${name}.bytecode for ${name}.js`, { skip }, () => {
    const script = bundleScript(join(dist, `${name}.js`), join(dist, `${name}.bytecode`));
    assert.equal(script.cachedDataRejected, false);
  });
}
