import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { seedFiles } from '../../../vmm/machine/cloud-init/seed.ts';
import { BOOT_TIMEOUT_MS } from '../../support/linux-guest.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

test('--cloud-init: the guest reads the whole seed from its second disk, and cannot write it', async (t) => {
  const folder = temporaryFolder(t);
  const userDataPath = join(folder, 'user.yaml');
  writeFileSync(userDataPath, `#cloud-config\n# ${'words '.repeat(2000)}\n`);
  const input = `cat /sys/block/vdb/serial /sys/block/vdb/ro; echo
echo '[[['; base64 /dev/vdb; echo ']]]'
dd if=/dev/zero of=/dev/vdb count=1 2>&1 | grep -c 'Operation not permitted'
poweroff\n`;
  const args = ['boot', '--cloud-init', userDataPath, '--hostname', 'web', '--console', 'stdio'];
  const { stdout, code } = await runTsvm(args, { input, timeoutMs: BOOT_TIMEOUT_MS });
  assert.equal(code, 0, stdout.slice(-2000));
  assert.match(stdout, /cloud-init\s*1\s/);
  const [, text = ''] = /\n\[\[\[\r?\n([A-Za-z0-9+/=\s]*)\]\]\]/.exec(stdout) ?? [];
  const image = join(folder, 'seed.img');
  writeFileSync(image, Buffer.from(text, 'base64'));
  execFileSync('fsck.vfat', ['-n', image]);
  for (const [name, content] of seedFiles({ userDataPath, hostname: 'web' })) {
    const read = execFileSync('mtype', ['-i', image, `::/${name}`], {
      env: { ...process.env, MTOOLS_SKIP_CHECK: '1' },
    });
    assert.ok(read.equals(content), name);
  }
});
