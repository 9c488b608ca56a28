import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  collect,
  parseCloudInit,
  parseConsole,
  parseConsoleOption,
  parseCpus,
  parseDisk,
  parseMemoryOption,
  parseOnReboot,
  parsePassword,
  parsePmem,
  parsePort,
  parseShare,
  parseVsock,
} from '../../../vmm/cli/boot-options.ts';
import { parseMemory } from '../../../vmm/cli/memory-size.ts';
import { temporaryFolder } from '../../support/tsvm-process.ts';

test('--disk: a file, then flags; a comma in its name is written twice', () => {
  assert.deepEqual(parseDisk('a.img'), {
    path: 'a.img',
    readOnly: false,
    format: undefined,
    overlay: false,
    backing: 'same-folder',
  });
  const disk = parseDisk('a,,b.img,ro,format=raw');
  assert.equal(disk.path, 'a,b.img');
  assert.equal(disk.readOnly, true);
  assert.equal(disk.format, 'raw');
  assert.equal(parseDisk('a.img,overlay').overlay, true);
  assert.equal(parseDisk('a.img,format=qcow2').format, 'qcow2');
  assert.equal(parseDisk('a.img,backing=allow').backing, 'allow');
  for (const text of ['', ',ro', 'a.img,rw', 'a.img,format=vdi', 'a.img,backing=', 'a.img,']) {
    assert.throws(() => parseDisk(text), text);
  }
});

test('--disk: rate limits', () => {
  assert.deepEqual(parseDisk('a.img,iops=100,ro,bps=1M,iops_max=200').limits, {
    operationsPerSecond: 100,
    bytesPerSecond: 2 ** 20,
    burstOperations: 200,
  });
  assert.equal(parseDisk('a.img').limits, undefined);
  for (const text of ['a.img,iops=', 'a.img,iops=0', 'a.img,bps=fast', 'a.img,pps=1']) {
    assert.throws(() => parseDisk(text), { code: 'commander.invalidArgument' }, text);
  }
});

test('--cpus, --memory, --console and --on-reboot refuse invalid values', () => {
  assert.equal(parseCpus('32'), 32);
  for (const text of ['0', '33', '1.5', 'two', '-1', '']) assert.throws(() => parseCpus(text));
  assert.equal(parseMemory('512'), 512 * 2 ** 20);
  assert.throws(() => parseMemory('lots'));
  assert.deepEqual(parseMemoryOption('1G'), { bytes: 2 ** 30 });
  assert.deepEqual(parseMemoryOption('512,max=4G'), { bytes: 2 ** 29, maxBytes: 2 ** 32 });
  for (const bad of ['', ',max=1G', '1G,max=', '1G,max=lots', '1G,most=2G', '1G,2G', '1G,']) {
    assert.throws(() => parseMemoryOption(bad), bad);
  }
  assert.deepEqual(parseConsole('file:/tmp/a:b'), { kind: 'file', path: '/tmp/a:b' });
  for (const text of ['file:', 'wall', '']) assert.throws(() => parseConsole(text));
  assert.equal(parseOnReboot('restart'), 'restart');
  assert.throws(() => parseOnReboot('maybe'));
});

test('options that may be given again keep their order', () => {
  const add = collect((text) => text.toUpperCase());
  assert.deepEqual(add('b', add('a')), ['A', 'B']);
});

test('--vsock takes a path and a CID', () => {
  assert.deepEqual(parseVsock('v.sock'), { socketPath: 'v.sock' });
  assert.deepEqual(parseVsock('a,,b,cid=42'), { socketPath: 'a,b', guestCid: 42 });
  for (const bad of ['', ',cid=3', 'v,cid=2', 'v,cid=4294967295', 'v,cid=x', 'v,ro']) {
    assert.throws(() => parseVsock(bad), { code: 'commander.invalidArgument' }, bad);
  }
});

test('--share takes a folder, a tag after the last colon, and ro', () => {
  assert.deepEqual(parseShare('src:s'), { path: 'src', tag: 's', readOnly: false });
  assert.deepEqual(parseShare('a:b,,c:t,ro'), { path: 'a:b,c', tag: 't', readOnly: true });
  for (const bad of ['', 'src', ':t', 'src:', 'src:t,rw']) {
    assert.throws(() => parseShare(bad), { code: 'commander.invalidArgument' }, bad);
  }
});

test('--console: virtio alone, or before where it leads to', () => {
  assert.deepEqual(parseConsoleOption('virtio'), { device: 'virtio', where: undefined });
  const where = { kind: 'file', path: 'virtio,x' };
  assert.deepEqual(parseConsoleOption('virtio,file:virtio,x'), { device: 'virtio', where });
  assert.deepEqual(parseConsoleOption('stdio'), { device: 'serial', where: { kind: 'stdio' } });
  for (const text of ['', 'virtio,', 'virtio,virtio', 'serial']) {
    assert.throws(() => parseConsoleOption(text), text);
  }
});

test('--port: a name and a socket, whose path may have any characters', () => {
  assert.deepEqual(parsePort('a=b=c,d'), { name: 'a', socketPath: 'b=c,d' });
  for (const text of ['', 'a', 'a=', '=b']) assert.throws(() => parsePort(text), text);
});

test('--cloud-init: a file, then the other files of NoCloud', () => {
  assert.deepEqual(parseCloudInit('a,,b.yaml,meta-data=m,network-config=n,,o'), {
    userDataPath: 'a,b.yaml',
    metaDataPath: 'm',
    networkConfigPath: 'n,o',
  });
  for (const bad of ['', 'a,b', 'a,meta-data', 'a,meta-data=', 'a,vendor-data=x', 'a,toString=x']) {
    assert.throws(() => parseCloudInit(bad), { code: 'commander.invalidArgument' }, bad);
  }
  assert.throws(() => parseCloudInit('a', { userDataPath: 'b' }), /more than once/);
});

test('--password: text, or the first line of a file', (context) => {
  const path = join(temporaryFolder(context), 'password');
  writeFileSync(path, 'it: is\r\nmore\n');
  assert.equal(parsePassword(`file:${path}`), 'it: is');
  assert.equal(parsePassword('pass:word'), 'pass:word');
  assert.throws(() => parsePassword('file:/nonexistent'), { code: 'commander.invalidArgument' });
});

test('--pmem: a file, read-only or not', () => {
  assert.deepEqual(parsePmem('a,,b.img'), { path: 'a,b.img', readOnly: false });
  assert.deepEqual(parsePmem('root.erofs,ro'), { path: 'root.erofs', readOnly: true });
  for (const bad of ['', ',ro', 'a,rw', 'a,ro=1']) assert.throws(() => parsePmem(bad), bad);
});
