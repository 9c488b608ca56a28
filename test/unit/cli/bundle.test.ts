import assert from 'node:assert/strict';
import { existsSync, globSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { loadScript } from '../../../vmm/cli/bundle.ts';
import { PROGRAMS } from '../../../vmm/cli/programs.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';

const dist = join(packageRoot(), 'dist');
const skip = existsSync(join(dist, 'tsvm.cjs')) ? false : 'the bundle is not built: npm run setup';

for (const { name } of PROGRAMS) {
  test(`V8 accepts the bytecode of the program ${name} and of its parts`, { skip }, () => {
    const files = globSync(`${name}{,.*}.js`, { cwd: dist });
    assert.ok(files.includes(`${name}.js`));
    for (const file of files) {
      const script = loadScript(join(dist, basename(file, '.js')));
      assert.equal(script.cachedDataRejected, false, file);
    }
  });
}
