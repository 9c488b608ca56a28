import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diskFormat } from '../../../../vmm/backends/disk/format.ts';

test('a name that tells no other format is a raw disk', () => {
  for (const path of ['disk.img', 'disk.raw', 'disk', '/dev/vdb', 'a.qcow2/disk', 'qcow2']) {
    assert.equal(diskFormat(path, undefined), 'raw', path);
  }
});

test('a format that cannot be served is refused with the way out', () => {
  for (const path of ['a.qcow2', 'A.QCOW2', 'b.vmdk', 'c.vhdx']) {
    assert.throws(() => diskFormat(path, undefined), { code: 'invalid-disk' }, path);
  }
  assert.throws(() => diskFormat('x.qcow2', undefined), /qemu-img convert -f qcow2 -O raw x.qcow2/);
  assert.throws(() => diskFormat('disk.img', 'qcow2'), { code: 'invalid-disk' });
});

test('what the user says goes before the name', () => {
  assert.equal(diskFormat('a.qcow2', 'raw'), 'raw');
});
