/** The default guest on a qcow2 image over its root disk. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { BOOT_TIMEOUT_MS, defaultGuest } from '../../support/linux-guest.ts';
import { qemuCheck, qemuImgOutput } from '../../support/qemu-img.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

test('a root disk in a qcow2 overlay keeps written data, and QEMU can read it', async (t) => {
  const { rootDiskPath } = defaultGuest();
  const folder = temporaryFolder(t);
  const disk = join(folder, 'root.qcow2');
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', rootDiskPath, disk, '1G');
  const { code, stdout } = await runTsvm(['boot', '--disk', `${disk},backing=allow`], {
    input: 'cp /bin/busybox /root/copy\necho kept > /root/kept\nsync\npoweroff\n',
    timeoutMs: BOOT_TIMEOUT_MS,
  });
  assert.equal(code, 0, stdout);
  const { corruptions, leaks, checkErrors, text } = await qemuCheck(disk);
  assert.deepEqual([corruptions, leaks, checkErrors], [0, 0, 0], text);

  const raw = join(folder, 'root.img');
  await qemuImgOutput('convert', '-f', 'qcow2', '-O', 'raw', disk, raw);
  const check = spawnSync('e2fsck', ['-f', '-n', raw], { encoding: 'utf8' });
  assert.equal(check.status, 0, check.stdout + check.stderr);
  const content = (path: string) =>
    execFileSync('debugfs', ['-R', `cat ${path}`, raw], { maxBuffer: 2 ** 24 });
  assert.equal(content('/root/kept').toString(), 'kept\n');
  assert.ok(content('/root/copy').equals(content('/bin/busybox')));
});
