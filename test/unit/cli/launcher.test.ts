import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { until } from '../../support/until.ts';

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

test('a run starts with the process of its container, which sees that its client has gone', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'tsvm-launcher-'));
  t.after(() => rmSync(root, { recursive: true }));
  const launcher = makeLauncher(root);
  const release = 'kvm-addon/build/Release';
  mkdirSync(join(root, release), { recursive: true });
  copyFileSync(join(packageRoot(), release, 'tsvm-launch'), join(root, release, 'tsvm-launch'));
  // The client does what it does when a container is made; its supervisor answers with what it is.
  writeFileSync(
    join(root, 'node_modules/node/bin/node'),
    `#!/bin/bash
case "$*" in
*container-supervisor*)
  echo "$* $TSVM_SUPERVISOR$(readlink /proc/self/fd/0) $PWD $(ps -o sid= $$ | grep -c $$)" >&3
  cat <&3
  touch ${root}/ended ;;
*)
  echo "$*"
  [ -z "$TSVM_SUPERVISOR" ] || { echo "$TSVM_SUPERVISOR"; head -1 <&"\${TSVM_SUPERVISOR% *}"; } ;;
esac
`,
  );
  const run = (...words: string[]) =>
    execFileSync(launcher, words, {
      encoding: 'utf8',
      // What was meant for another client.
      env: { ...process.env, TSVM_SUPERVISOR: '3 none' },
    }).split('\n');
  for (const words of [['run'], ['run', '--', 'box'], ['container', 'run', 'box']]) {
    const [client = '', variable = '', supervisor = ''] = run(...words);
    const options = client.slice(0, client.indexOf('tsvm.cjs') + 'tsvm.cjs'.length);
    assert.equal(client, `${options} ${words.join(' ')}`);
    const id = /^\d+ ([0-9a-f]{64})$/.exec(variable)?.[1];
    assert.equal(supervisor, `${options} container-supervisor ${id} /dev/null / 1`);
    await until('the supervisor ends', () => existsSync(join(root, 'ended')));
    rmSync(join(root, 'ended'));
  }
  for (const words of [['ps'], ['runs', 'box'], ['container', 'start', 'run'], ['image', 'run']]) {
    assert.deepEqual(run(...words).slice(1), [''], words.join(' '));
  }
});
