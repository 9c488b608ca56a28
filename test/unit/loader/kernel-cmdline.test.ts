import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  composeCommandLine,
  encodeCommandLine,
  virtioMmioParameter,
} from '../../../vmm/loader/kernel-cmdline.ts';
import { tsvmError } from './kernel-fixtures.ts';

test("the parts are joined in a fixed order, the user's own last", () => {
  const line = composeCommandLine({
    console: 'ttyS0',
    root: { device: '/dev/vda', readOnly: false },
    panicSeconds: -1,
    reboot: 'k',
    kernel: ['cryptomgr.notests'],
    host: ['nopti', 'tsc=reliable'],
    virtioMmio: [
      { gpa: 0xd0001000, sizeBytes: 4096, gsi: 5, id: 0 },
      { gpa: 0xd0002000, sizeBytes: 4096, gsi: 6, id: 1 },
    ],
    append: ' quiet init=/bin/sh\t',
  });
  assert.equal(
    line,
    'console=ttyS0 root=/dev/vda rw panic=-1 reboot=k cryptomgr.notests nopti tsc=reliable ' +
      'virtio_mmio.device=4K@0xd0001000:5:0 virtio_mmio.device=4K@0xd0002000:6:1 quiet init=/bin/sh',
  );
});

test('parts that are not given leave no trace', () => {
  assert.equal(composeCommandLine({}), '');
  assert.equal(composeCommandLine({ append: '  ' }), '');
  assert.equal(composeCommandLine({ panicSeconds: 0 }), 'panic=0');
  assert.equal(composeCommandLine({ machine: ['a=1'], entry: 'a=2' }), 'a=1 a=2');
  const root = { device: 'PARTUUID=1-2', readOnly: true };
  assert.equal(composeCommandLine({ root }), 'root=PARTUUID=1-2 ro');
});

test('a virtio-mmio device without a number leaves it to the kernel', () => {
  const device = { gpa: 0xd0001000, sizeBytes: 0x200, gsi: 12 };
  assert.equal(virtioMmioParameter(device), 'virtio_mmio.device=512@0xd0001000:12');
});

test('the line is UTF-8 with a NUL at its end', () => {
  assert.deepEqual(Buffer.from(encodeCommandLine('a=é', 4)), Buffer.from('613dc3a900', 'hex'));
  assert.deepEqual(Buffer.from(encodeCommandLine('', 0)), Buffer.of(0));
});

test('a command line longer than the kernel’s limit in bytes is refused', () => {
  assert.equal(encodeCommandLine('x'.repeat(2047), 2047).byteLength, 2048);
  assert.throws(
    () => encodeCommandLine('x'.repeat(2048), 2047),
    tsvmError('cmdline-too-long', /has 2048 bytes, the kernel accepts 2047/),
  );
  assert.throws(() => encodeCommandLine('é', 1), tsvmError('cmdline-too-long', /2 bytes/));
});

test('a NUL or a line break is refused', () => {
  for (const character of ['\0', '\n', '\r']) {
    assert.throws(
      () => encodeCommandLine(`quiet${character}init=/x`, 2047),
      tsvmError('invalid-config', /position 5/),
    );
  }
});
