import assert from 'node:assert/strict';
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  DESCRIPTORS_MAX,
  receiveDescriptors,
  sendDescriptors,
  socketPair,
} from '../../../vmm/host/descriptors.ts';

const folder = mkdtempSync(join(tmpdir(), 'tsvm-descriptors-'));
after(() => rmSync(folder, { recursive: true }));
const openFiles = () => readdirSync('/proc/self/fd').length;

test('open files arrive with the bytes of their message, and are the same files', () => {
  const before = openFiles();
  const path = join(folder, 'file');
  writeFileSync(path, 'content');
  const fd = openSync(path, 'r');
  const [one, other] = socketPair();
  assert.equal(receiveDescriptors(other, 64, 8), undefined);
  assert.equal(sendDescriptors(one, { bytes: Buffer.from('hello'), fds: [fd, fd] }), 5);
  const message = receiveDescriptors(other, 64, 8);
  assert.ok(message);
  assert.equal(Buffer.from(message.bytes).toString(), 'hello');
  assert.equal(message.fds.length, 2);
  closeSync(fd);
  for (const received of message.fds) {
    assert.equal(fstatSync(received).ino, fstatSync(message.fds[0] ?? -1).ino);
  }
  assert.equal(readFileSync(message.fds[0] ?? -1, 'utf8'), 'content');
  for (const received of message.fds) closeSync(received);
  closeSync(one);
  assert.equal(receiveDescriptors(other, 64, 8)?.bytes.length, 0);
  assert.throws(() => sendDescriptors(other, { bytes: Buffer.of(1), fds: [] }), { code: 'EPIPE' });
  closeSync(other);
  assert.equal(openFiles(), before);
});

test('if a peer sends too many descriptors, all are closed', () => {
  const [one, other] = socketPair();
  const before = openFiles();
  const fds = Array<number>(DESCRIPTORS_MAX).fill(one);
  assert.equal(sendDescriptors(one, { bytes: Buffer.of(1), fds }), 1);
  assert.throws(() => receiveDescriptors(other, 1, 1), { code: 'EMSGSIZE' });
  assert.equal(openFiles(), before);
  assert.throws(() => sendDescriptors(one, { bytes: Buffer.of(1), fds: [...fds, one] }), {
    code: 'EINVAL',
  });
  assert.throws(() => receiveDescriptors(other, 1, DESCRIPTORS_MAX + 1), { code: 'EINVAL' });
  closeSync(one);
  closeSync(other);
});
