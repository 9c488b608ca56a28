/** The disk lock with the host's real locks, among ourselves and with QEMU. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openRawDisk } from '../../vmm/backends/disk/machine/raw-disk.ts';
import { TsvmError } from '../../vmm/errors.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { temporaryFolder } from '../support/disk-fixtures.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const path = join(folder.path, 'disk.img');
writeFileSync(path, new Uint8Array(4096));

const noQemu =
  spawnSync('qemu-io', ['--version']).error === undefined ? false : 'qemu-io is not installed';

/** Opens and closes it: undefined, or why it could not be opened. */
function refusal(readOnly: boolean, name = path): TsvmError | undefined {
  try {
    openRawDisk(name, readOnly, hostFiles()).close();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof TsvmError, String(error));
    return error;
  }
}

test('a second writer and a reader beside a writer are refused; readers share', () => {
  const writer = openRawDisk(path, false, hostFiles());
  assert.equal(refusal(false)?.code, 'disk-locked');
  assert.equal(refusal(true)?.code, 'disk-locked');
  assert.match(refusal(false)?.message ?? '', /disk\.img is in use by this process/);
  writer.close();
  const reader = openRawDisk(path, true, hostFiles());
  assert.equal(refusal(true), undefined);
  assert.equal(refusal(false)?.code, 'disk-locked');
  reader.close();
  assert.equal(refusal(false), undefined);
});

test('the lock belongs to the file, not to its name', () => {
  const other = join(folder.path, 'other.img');
  symlinkSync(path, other);
  const writer = openRawDisk(path, false, hostFiles());
  assert.equal(refusal(false, other)?.code, 'disk-locked');
  writer.close();
});

/** Holds the image open in qemu-io, which is ready once it has read a sector. */
async function holdWithQemu(readOnly: boolean): Promise<ChildProcess> {
  const mode = readOnly ? ['-r'] : [];
  const holder = spawn('qemu-io', ['-f', 'raw', ...mode, path], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  holder.stdin?.write('read 0 512\n');
  let output = '';
  for await (const chunk of holder.stdout ?? []) {
    output += String(chunk);
    if (output.includes('512/512')) break;
  }
  return holder;
}

test('QEMU writes: neither our writer nor our reader comes in', { skip: noQemu }, async () => {
  const holder = await holdWithQemu(false);
  assert.equal(refusal(false)?.code, 'disk-locked');
  assert.match(refusal(true)?.message ?? '', new RegExp(`process ${holder.pid} \\(qemu-io\\)`));
  holder.kill();
  await once(holder, 'exit');
});

test('QEMU reads: our reader shares, our writer does not come in', { skip: noQemu }, async () => {
  const holder = await holdWithQemu(true);
  assert.equal(refusal(true), undefined);
  assert.equal(refusal(false)?.code, 'disk-locked');
  holder.kill();
  await once(holder, 'exit');
});

test('locked by tsvm: QEMU may read only if tsvm only reads', { skip: noQemu }, () => {
  const qemuOpens = (readOnly: boolean) => {
    const mode = readOnly ? ['-r'] : [];
    const run = spawnSync('qemu-io', ['-f', 'raw', ...mode, '-c', 'read 0 512', path]);
    return run.status === 0;
  };
  const writer = openRawDisk(path, false, hostFiles());
  assert.deepEqual([qemuOpens(false), qemuOpens(true)], [false, false]);
  writer.close();
  const reader = openRawDisk(path, true, hostFiles());
  assert.deepEqual([qemuOpens(false), qemuOpens(true)], [false, true]);
  reader.close();
  assert.equal(qemuOpens(false), true);
});
