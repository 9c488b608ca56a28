/** What tsvm finds out about the host before it starts a machine. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PAYLOAD, runTsvm, TSVM, temporaryFolder } from '../../support/tsvm-process.ts';

test('doctor finds a usable KVM and prints its kind', async () => {
  const { code, stdout } = await runTsvm(['doctor']);
  assert.match(stdout, /^ok {4}\/dev\/kvm can be used$/m);
  assert.match(stdout, /^(ok {4}|note {2})(kvm-pvm|hardware virtualization)/m);
  assert.match(stdout, /^ok {4}all \d+ capabilities/m);
  assert.doesNotMatch(stdout, /WRONG/);
  assert.equal(code, 0);
});

test('doctor reports a device that is not the KVM device', async () => {
  const { code, stdout } = await runTsvm(['doctor', '--kvm', '/dev/null']);
  assert.match(stdout, /^WRONG \/dev\/null cannot be used \(ENOTTY\): it is not the KVM device/m);
  assert.equal(code, 125);
});

test('without a boot id in /proc the host is probed at each start', (t) => {
  const cache = temporaryFolder(t);
  const hidden = 'mount -t tmpfs none /proc/sys/kernel/random && exec "$0" "$@"';
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    ['--map-root-user', '--mount', 'sh', '-c', hidden, TSVM, 'boot', '--kernel', PAYLOAD].concat([
      '--append',
      'tests=cpuid',
    ]),
    { encoding: 'utf8', env: { ...process.env, XDG_CACHE_HOME: cache } },
  );
  assert.match(stdout, /^done passed=1 failed=0/m, stderr);
  assert.equal(status, 0, stderr);
  assert.ok(!existsSync(join(cache, 'tsvm/kvm-host.json')));
});
