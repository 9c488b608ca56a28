/** The package as a program outside has it: packed, installed in an empty folder, used by the example. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { PAYLOAD, temporaryFolder } from '../../support/tsvm-process.ts';

/** Runs a program; returns what it wrote. */
function run(folder: string, program: string, ...words: string[]) {
  const { status, stdout, stderr } = spawnSync(program, words, {
    cwd: folder,
    encoding: 'utf8',
    timeout: 300_000,
  });
  return { status, stdout, output: `${stdout}\n${stderr}` };
}

function mustRun(folder: string, program: string, ...words: string[]): string {
  const { status, stdout, output } = run(folder, program, ...words);
  assert.equal(status, 0, `${program} ${words.join(' ')}: ${output}`);
  return stdout;
}

/** A folder with nothing but the package in it. */
function installPackage(t: TestContext): string {
  const folder = temporaryFolder(t);
  mustRun(packageRoot(), 'npm', 'pack', '--pack-destination', folder);
  const [tarball = ''] = readdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{"private": true, "type": "module"}');
  // What npm ci has downloaded for this checkout is in npm's cache.
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund'];
  mustRun(folder, 'npm', 'install', ...quiet, `./${tarball}`);
  return folder;
}

const WORDS = ['hello from outside', 'tests=serial-echo'];

test('the example boots a guest, talks to it, pauses and stops it: with the package alone', (t) => {
  const folder = installPackage(t);
  const root = packageRoot();
  copyFileSync(join(root, 'examples/console.ts'), join(folder, 'console.ts'));
  const node = join(folder, 'node_modules/node/bin/node');
  const { status, output } = run(folder, node, 'console.ts', PAYLOAD, ...WORDS);
  assert.equal(status, 0, output);
  assert.match(output, /^echo: hello from outside$/m);
  assert.match(output, /\[the machine is paused\]/);
  assert.match(output, /\[the machine has ended: (stopped|poweroff)\]/);

  const missing = run(folder, node, 'console.ts', join(folder, 'no-kernel'));
  assert.equal(missing.status, 1);
  assert.match(missing.output, /^file-unreadable: /m);

  // The command line program is in the package too.
  const boot = ['boot', '--kernel', PAYLOAD, '--acpi', 'off', '--append', 'tests=cpuid'];
  const tsvm = join(folder, 'node_modules/.bin/tsvm');
  assert.match(mustRun(folder, tsvm, ...boot), /^done passed=1 failed=0/m);

  // Its types hold for a compiler that is as strict as can be, and that looks into them.
  const typeScript = join(root, 'node_modules/.bin/tsc');
  const types = ['--typeRoots', join(root, 'node_modules/@types'), '--types', 'node'];
  const strict = [
    '--noEmit',
    '--strict',
    '--exactOptionalPropertyTypes',
    '--skipLibCheck',
    'false',
  ];
  const modern = ['--target', 'es2024', '--lib', 'es2024,esnext', '--module', 'nodenext'];
  mustRun(folder, typeScript, ...strict, ...modern, ...types, 'console.ts');

  // Where the addon does not fit the host, npm builds it; that takes minutes, and is not tried here.
  rmSync(join(folder, 'node_modules/tsvm/kvm-addon/build'), { recursive: true });
  const without = run(folder, node, 'console.ts', PAYLOAD, ...WORDS);
  assert.match(without.output, /^kvm-unavailable: .*npm rebuild tsvm/m);
});
