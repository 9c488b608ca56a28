import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { PAYLOAD } from '../../support/tsvm-process.ts';

const dist = join(packageRoot(), 'dist');
const skip = existsSync(join(dist, 'tsvm.cjs')) ? false : 'the bundle is not built: npm run setup';

/** Runs the bundled program `machine` and returns which of its files were loaded. */
function loadedFiles(...words: string[]): string[] {
  const code = `
    import { writeSync } from 'node:fs';
    import { Bundle } from ${JSON.stringify(join(packageRoot(), 'vmm/cli/bundle.ts'))};
    process.argv = [process.argv[0], 'tsvm', ...process.argv.slice(1)];
    const bundle = new Bundle(${JSON.stringify(dist)}, 'machine');
    process.on('exit', () => writeSync(2, 'loaded: ' + [...bundle.scripts.keys()].join(' ')));
    bundle.run();`;
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', code, 'boot', '--kernel', PAYLOAD, '--acpi', 'off', ...words],
    { encoding: 'utf8', input: '', timeout: 60_000 },
  );
  assert.equal(status, 0, stderr);
  const [, list = ''] = /loaded: (.*)$/.exec(stderr) ?? [];
  // Loaded after the guest's first output, or not at all if it has ended by then.
  const later = /^machine\.(api-server|control-surface|http-connections)$/;
  return list.split(' ').filter((file) => !later.test(file));
}

test('a boot loads only the code of devices that the machine has', { skip }, () => {
  const end = ['--append', 'exit=acpi'];
  assert.deepEqual(loadedFiles(...end), ['machine']);
  assert.deepEqual(loadedFiles('--balloon', ...end), ['machine', 'machine.balloon']);
});
