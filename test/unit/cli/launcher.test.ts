import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';

/** `bin/tsvm` with a Node that prints its arguments. */
function makeLauncher(root: string): string {
  const launcher = join(root, 'bin/tsvm');
  const node = join(root, 'node_modules/node/bin/node');
  for (const folder of ['bin', 'dist', 'node_modules/node/bin']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  copyFileSync(join(packageRoot(), 'bin/tsvm'), launcher);
  writeFileSync(join(root, 'dist/tsvm.cjs'), '');
  writeFileSync(node, '#!/bin/sh\necho "$@"\n');
  chmodSync(node, 0o755);
  return launcher;
}

test('Node takes no option from the words of tsvm: its --env-file and that of "run" are two', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'tsvm-launcher-'));
  t.after(() => rmSync(root, { recursive: true }));
  const launcher = makeLauncher(root);
  const words = ['run', '--env-file', 'settings', 'box'];
  const output = execFileSync(launcher, words, { encoding: 'utf8' });
  assert.ok(output.endsWith(` -- ${root}/bin/../dist/tsvm.cjs ${words.join(' ')}\n`), output);
});

test('strings have predictable hash values only where nobody else chooses keys of maps', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'tsvm-launcher-'));
  t.after(() => rmSync(root, { recursive: true }));
  const launcher = makeLauncher(root);
  const isPredictable = (line: string) => {
    const output = execFileSync(launcher, line.split(' ').filter(Boolean), { encoding: 'utf8' });
    assert.ok(output.endsWith(`tsvm.cjs${line === '' ? '' : ` ${line}`}\n`), output);
    return output.includes('--no-rehash-snapshot');
  };
  for (const line of [
    'boot',
    'boot --cpus 2 --net user',
    'boot --kernel k',
    'boot --kernel k --disk d',
    'boot --disk=d --kernel=k',
  ]) {
    assert.ok(isPredictable(line), line);
  }
  for (const line of [
    '',
    '--help',
    // A kernel is looked for on the disk.
    'boot --disk d',
    'boot --cpus 2 --disk=d',
    'pull --kernel',
    'load -i boot',
    'image info d',
    'run box',
  ]) {
    assert.ok(!isPredictable(line), line);
  }
});
