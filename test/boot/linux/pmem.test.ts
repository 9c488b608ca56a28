/** Files of the host as memory of a Linux guest: a root that machines share, and one that is written. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { bootMachine, type MachineConfig } from '../../../vmm/index.ts';
import { GuestShell } from '../../support/guest-shell.ts';
import { defaultGuest, defaultKernel } from '../../support/linux-guest.ts';
import { temporaryFolder } from '../../support/tsvm-process.ts';

const MIB = 2 ** 20;
/** DAX: programs map the file's own pages. */
const ROOT = 'root=/dev/pmem0 ro rootfstype=ext4 rootflags=dax=always';

async function boot(context: TestContext, config: Partial<MachineConfig>) {
  const shell = new GuestShell();
  const machine = await bootMachine({ ...defaultKernel(), ...config }, { console: shell });
  context.after(() => machine.close());
  machine.start();
  await shell.ready();
  return { shell, machine };
}

/** A root file system with a large file. */
function rootWithFile(context: TestContext, content: Uint8Array): string {
  const folder = temporaryFolder(context);
  const [root, file] = [join(folder, 'root.ext4'), join(folder, 'large')];
  copyFileSync(defaultGuest().rootDiskPath, root);
  execFileSync('chmod', ['600', root]);
  writeFileSync(file, content);
  truncateSync(root, 64 * MIB + 4096);
  execFileSync('resize2fs', ['-f', root], { stdio: 'ignore' });
  execFileSync('debugfs', ['-w', '-R', `write ${file} /large`, root], { stdio: 'ignore' });
  return root;
}

function residentMib(kind: 'RssAnon' | 'RssFile'): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  const [, kib] = new RegExp(`^${kind}:\\s+(\\d+)`, 'm').exec(status) ?? [];
  return Number(kib) / 1024;
}

for (const transport of ['mmio', 'pci'] as const) {
  test(`a read-only root that is memory costs page cache alone: ${transport}`, async (context) => {
    const content = randomBytes(24 * MIB);
    const root = rootWithFile(context, content);
    const other = join(temporaryFolder(context), 'other');
    const otherContent = randomBytes(3 * MIB);
    writeFileSync(other, otherContent);
    const { shell } = await boot(context, {
      pmems: [root, other].map((path) => ({ path, readOnly: true })),
      appendCmdline: ROOT,
      transport,
    });
    assert.match(await shell.run('mount'), /^\/dev\/(root|pmem0) on \/ type ext4 \(ro.*dax/m);
    const beforeMib = { anonymous: residentMib('RssAnon'), file: residentMib('RssFile') };
    const { stdout: expected } = spawnSync('md5sum', { input: content, encoding: 'utf8' });
    assert.equal((await shell.run('md5sum < /large')).trim(), expected.trim());
    assert.ok(residentMib('RssFile') - beforeMib.file > 20, 'the guest has read the file’s pages');
    assert.ok(residentMib('RssAnon') - beforeMib.anonymous < 12, 'and copied none');
    // The guest takes the other one for a device that can be written.
    await shell.run('dd if=/dev/zero of=/dev/pmem1 bs=4096 count=64 conv=fsync');
    const sum = spawnSync('md5sum', { input: otherContent, encoding: 'utf8' }).stdout.trim();
    await shell.run('echo 3 > /proc/sys/vm/drop_caches');
    assert.equal((await shell.run('head -c 3145728 /dev/pmem1 | md5sum')).trim(), sum);
    assert.ok(readFileSync(other).equals(otherContent));
  });
}

test('what a guest has written and synced is in the file; programs run from it', async (context) => {
  const disk = join(temporaryFolder(context), 'data.ext4');
  writeFileSync(disk, '');
  truncateSync(disk, 32 * MIB);
  execFileSync('mkfs.ext4', ['-q', '-b', '4096', '-F', disk]);
  const { shell, machine } = await boot(context, {
    disks: [{ path: defaultGuest().rootDiskPath, overlay: true }],
    pmems: [{ path: disk }],
  });
  await shell.run('mount -o dax=always /dev/pmem0 /mnt');
  assert.match(await shell.run('mount'), /^\/dev\/pmem0 on \/mnt type ext4 \(rw.*dax/m);
  await shell.run('cp /bin/busybox /mnt/echo; dd if=/dev/urandom of=/mnt/data bs=1M count=8');
  assert.match(await shell.run('/mnt/echo from "the file"'), /^from the file$/m);
  const sum = (await shell.run('md5sum < /mnt/data; sync')).trim();
  assert.ok((machine.statistics()['pmem0']?.['flushes'] ?? 0) > 0);
  // Like a power failure.
  await machine.close();
  const check = spawnSync('e2fsck', ['-f', '-p', disk], { encoding: 'utf8' });
  assert.ok(check.status !== null && check.status <= 1, check.stdout);
  const data = execFileSync('debugfs', ['-R', 'cat /data', disk], { maxBuffer: 16 * MIB });
  const { stdout } = spawnSync('md5sum', { input: data, encoding: 'utf8' });
  assert.equal(stdout.trim(), sum);
});

test('a file that is truncated while it is memory ends its machine with the reason, and nothing else', async (context) => {
  const file = join(temporaryFolder(context), 'data');
  writeFileSync(file, randomBytes(8 * MIB));
  const { shell, machine } = await boot(context, {
    disks: [{ path: defaultGuest().rootDiskPath, overlay: true }],
    pmems: [{ path: file }],
  });
  await assert.rejects(
    bootMachine({ ...defaultKernel(), pmems: [{ path: file, readOnly: true }] }),
    { code: 'disk-locked' },
  );
  await shell.run('(while md5sum /dev/pmem0 > /dev/null; do :; done) & sleep 1');
  truncateSync(file, MIB);
  const end = await machine.ended;
  assert.equal(end.reason, 'failed');
  assert.match(
    'message' in end ? end.message : '',
    /data was truncated from 8 MiB to 1 MiB|EFAULT/,
  );
});

test('files that cannot be memory are refused with what to do', async (context) => {
  const folder = temporaryFolder(context);
  const refused = async (name: string, bytes: number, code: string, message: RegExp, more = {}) => {
    const path = join(folder, name);
    writeFileSync(path, new Uint8Array(bytes));
    const config = { ...defaultKernel(), pmems: [{ path, ...more }] };
    await assert.rejects(bootMachine(config), { code, message });
  };
  await refused('empty', 0, 'invalid-disk', /is empty/);
  await refused('odd', 2 * MIB + 512, 'invalid-disk', /truncate -s %2M/);
  await refused('a.qcow2', 2 * MIB, 'invalid-config', /memory is raw/);
  await assert.rejects(
    bootMachine({ ...defaultKernel(), pmems: [{ path: join(folder, 'none') }] }),
    { code: 'file-unreadable' },
  );
});
