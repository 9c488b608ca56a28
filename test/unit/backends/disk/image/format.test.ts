import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  diskFormat,
  imageFormat,
  namedFormat,
} from '../../../../../vmm/backends/disk/image/format.ts';

test('a name without another known extension is a raw disk', () => {
  for (const path of ['disk.img', 'disk.raw', 'disk', '/dev/vdb', 'a.qcow2/disk', 'qcow2']) {
    assert.equal(diskFormat(path, undefined), 'raw', path);
  }
});

test('qcow2 is recognized by the name, case-insensitively', () => {
  for (const path of ['a.qcow2', 'A.QCOW2', '/x.img/b.Qcow2']) {
    assert.equal(diskFormat(path, undefined), 'qcow2', path);
  }
});

test('a format that cannot be served is refused with the way out', () => {
  for (const path of ['b.vmdk', 'c.vhdx', 'd.qcow', 'e.vdi']) {
    assert.throws(() => diskFormat(path, undefined), { code: 'invalid-disk' }, path);
  }
  assert.throws(() => diskFormat('x.vhd', undefined), /tsvm image convert -f vpc -O qcow2 x.vhd/);
  assert.throws(() => diskFormat('x.qed', undefined), /qemu-img convert -f qed -O qcow2 x.qed/);
  assert.equal(imageFormat('x.vhd', undefined), 'vpc', 'it can be read');
  assert.throws(() => diskFormat('disk.img', 'vmdk'), { code: 'invalid-disk' });
});

test('a raw name and the content of another format: the user has to say which', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-format-'));
  const path = join(folder, 'cloud.img');
  writeFileSync(path, 'QFI\xfb\0\0\0\x03', 'latin1');
  assert.throws(() => diskFormat(path, undefined), {
    code: 'invalid-disk',
    message: /begins like a qcow2 image.*format=qcow2.*format=raw/,
  });
  assert.throws(() => diskFormat(path, undefined, (format) => `-f ${format}`), /-f qcow2.*-f raw/);
  assert.equal(diskFormat(path, 'raw'), 'raw');
  assert.equal(namedFormat(path, undefined), 'raw', 'a new image may take its place');
  writeFileSync(path, 'KDMV');
  assert.throws(() => diskFormat(path, undefined), /vmdk/);
  rmSync(folder, { recursive: true });
});

test('the user’s choice takes precedence over the name', () => {
  assert.equal(diskFormat('a.qcow2', 'raw'), 'raw');
  assert.equal(diskFormat('disk.img', 'qcow2'), 'qcow2');
  assert.equal(diskFormat('b.vmdk', 'raw'), 'raw');
});
