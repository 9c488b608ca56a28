import assert from 'node:assert/strict';
import { existsSync, globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { Bundle, loadScript } from '../../../vmm/cli/bundle.ts';
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

test('a module that is slow to load is loaded on first use, and each module once', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-bundle-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(
    join(folder, 'program.js'),
    `(function (require, __dirname, module) {
      const os = require('node:os');
      const zlib = require('node:zlib');
      const path = require('node:path');
      module.exports = {};
      globalThis.bundleTest = () => [os.EOL, 'hostname' in os, 'nothing' in os, zlib !== os];
      require('node:path').join('a', 'b');
    })`,
  );
  const load = t.mock.method(process, 'getBuiltinModule');
  const loaded = () => load.mock.calls.map(({ arguments: [id] }) => id);
  new Bundle(folder, 'program').run();
  assert.deepEqual(loaded(), ['node:path']);
  const use = (globalThis as unknown as { bundleTest: () => unknown }).bundleTest;
  assert.deepEqual(use(), ['\n', true, false, true]);
  assert.deepEqual(loaded(), ['node:path', 'node:os']);
});
