/** Images with their chains, made by qemu-img. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { openHostFile } from '../../../../../vmm/backends/disk/file/host-file.ts';
import type { DiskImage } from '../../../../../vmm/backends/disk/image/image.ts';
import {
  closeImage,
  type OpenImageOptions,
  openImage,
} from '../../../../../vmm/backends/disk/image/open-image.ts';
import { parseHeader } from '../../../../../vmm/backends/disk/image/qcow2/header/header.ts';
import {
  rewriteHeader,
  writeHeader,
} from '../../../../../vmm/backends/disk/image/qcow2/header/header-encode.ts';
import { hostFiles } from '../../../../../vmm/host/host-files.ts';
import { pattern, temporaryFolder } from '../../../../support/disk-fixtures.ts';
import { qemuImgOutput } from '../../../../support/qemu-img.ts';

const folder = temporaryFolder();
after(() => folder.remove());
const content = pattern(65_536, 11);

/** A folder of its own for each test, with `base.img` in it. */
let here = '';
let count = 0;
beforeEach(() => {
  here = join(folder.path, `t${count++}`);
  mkdirSync(join(here, 'images'), { recursive: true });
  writeFileSync(inside('base.img'), content);
});

function inside(name: string): string {
  return join(here, 'images', name);
}

/** An overlay in the folder `images`, of what the image calls `backing`. */
async function overlay(name: string, backing: string, format = 'raw'): Promise<string> {
  await qemuImgOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-u',
    '-b',
    backing,
    '-F',
    format,
    inside(name),
    '64k',
  );
  return inside(name);
}

function open(path: string, options: Partial<OpenImageOptions> = {}): DiskImage {
  return openImage(path, {
    format: 'qcow2',
    readOnly: true,
    hostFiles: hostFiles(),
    backing: 'same-folder',
    ...options,
  });
}

function openFiles(): number {
  return readdirSync('/proc/self/fd').length;
}

function read(image: DiskImage): Uint8Array {
  const bytes = new Uint8Array(image.sizeBytes);
  image.readSync(0, bytes);
  return bytes;
}

/** It is refused, and nothing stays open. */
function refused(path: string, expected: object, options: Partial<OpenImageOptions> = {}): void {
  const before = openFiles();
  assert.throws(() => open(path, options), expected);
  assert.equal(openFiles(), before);
}

/** Lets the image name another backing file, which qemu-img would not write. */
function nameBacking(path: string, backingName: string, backingFormat: string | undefined): void {
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  rewriteHeader(file, { ...parseHeader(file), backingName, backingFormat });
  file.close();
}

test('a chain is opened with names relative to the image that contains them', async () => {
  mkdirSync(inside('lower'));
  writeFileSync(inside('lower/base.img'), content);
  const lower = join('lower', 'middle.qcow2');
  await overlay(lower, 'base.img');
  const top = await overlay('top.qcow2', lower, 'qcow2');
  const before = openFiles();
  const image = open(top);
  assert.deepEqual(read(image), content);
  assert.deepEqual(
    [image.format, image.backing?.format, image.backing?.backing?.format],
    ['qcow2', 'qcow2', 'raw'],
  );
  closeImage(image);
  assert.equal(openFiles(), before);
});

test('writes go to the top image; the others are opened for reading', async () => {
  const top = await overlay('top.qcow2', 'base.img');
  const image = open(top, { readOnly: false });
  assert.deepEqual([image.readOnly, image.backing?.readOnly], [false, true]);
  image.writeSync(0, new Uint8Array(512));
  closeImage(image);
  assert.deepEqual(new Uint8Array(readFileSync(inside('base.img'))), content);
  const reopened = open(top);
  assert.deepEqual(read(reopened), Uint8Array.from(content).fill(0, 0, 512));
  closeImage(reopened);
});

test('for a commit the backing image can be written, and only that', async () => {
  await overlay('middle.qcow2', 'base.img');
  const top = await overlay('top.qcow2', 'middle.qcow2', 'qcow2');
  const image = open(top, { readOnly: false, writableDepth: 1 });
  assert.deepEqual([image.backing?.readOnly, image.backing?.backing?.readOnly], [false, true]);
  closeImage(image);
});

test('an image opened without backing images behaves as if it had none', async () => {
  const top = await overlay('top.qcow2', 'base.img');
  const image = open(top, { backing: 'none' });
  assert.equal(image.backing, undefined);
  assert.deepEqual(read(image), new Uint8Array(65_536));
  closeImage(image);
});

test('200 backing images are followed, 201 are refused', async () => {
  const first = await overlay('1.qcow2', 'base.img');
  for (let depth = 2; depth <= 201; depth++) {
    copyFileSync(first, inside(`${depth}.qcow2`));
    nameBacking(inside(`${depth}.qcow2`), `${depth - 1}.qcow2`, 'qcow2');
  }
  const image = open(inside('200.qcow2'));
  assert.deepEqual(read(image), content);
  closeImage(image);
  refused(inside('201.qcow2'), { code: 'invalid-disk', message: /longer than 200/ });
});

test('a chain that loops is refused: to itself, over another, by another name', async () => {
  const self = await overlay('self.qcow2', 'self.qcow2', 'qcow2');
  const expected = { code: 'invalid-disk', message: /contains a file twice/ };
  refused(self, expected);
  refused(self, expected, { readOnly: false });
  await overlay('a.qcow2', 'b.qcow2', 'qcow2');
  refused(await overlay('b.qcow2', 'a.qcow2', 'qcow2'), expected);
  const linked = await overlay('linked.qcow2', 'other-name', 'qcow2');
  linkSync(linked, inside('other-name'));
  refused(linked, expected);
});

test('an unspecified backing format is not guessed', async () => {
  const top = await overlay('top.qcow2', 'base.img');
  nameBacking(top, 'base.img', undefined);
  refused(top, { code: 'invalid-disk', message: /rebase -u -F FORMAT -b base\.img/ });
  nameBacking(top, 'base.img', 'vmdk');
  refused(top, { code: 'invalid-disk', message: /vmdk, which is not supported/ });
});

test('a raw backing file stays raw even if a guest made it look like an image', async () => {
  const top = await overlay('top.qcow2', 'base.img');
  const evil = await overlay('evil.qcow2', '/etc/passwd');
  copyFileSync(evil, inside('base.img'));
  const image = open(top);
  assert.equal(image.backing?.format, 'raw');
  assert.deepEqual(read(image), new Uint8Array(readFileSync(evil).subarray(0, 65_536)));
  closeImage(image);
});

test('names of protocols are refused by name', async () => {
  const top = await overlay('top.qcow2', 'base.img');
  for (const name of [
    'json:{"driver":"raw"}',
    'json:{"driver":"nbd","host":"localhost"}',
    'json:{"driver":"raw","file":{"driver":"https","url":"x"}}',
    'json:{"driver":"raw","offset":"512","file.filename":"base.img"}',
    'json:{"driver":"raw","file":"node"}',
    'json:[]',
    'json:',
    'nbd://host/x',
    'nbd:unix:/s',
  ]) {
    nameBacking(top, name, 'raw');
    refused(top, { code: 'invalid-disk', message: /only files of the host/ }, { backing: 'allow' });
  }
});

test('names of files in the forms that QEMU has for them', async () => {
  const top = await overlay('top.qcow2', 'base.img');
  const json = (options: object) => `json:${JSON.stringify(options)}`;
  for (const [name, format] of [
    ['file:base.img', 'raw'],
    [json({ driver: 'raw', file: { driver: 'file', filename: 'base.img' } }), 'raw'],
    [json({ driver: 'raw', 'file.filename': 'base.img' }), undefined],
    [json({ driver: 'file', filename: 'base.img', 'read-only': true }), undefined],
  ] as const) {
    nameBacking(top, name, format);
    const image = open(top);
    assert.deepEqual(read(image), content, name);
    closeImage(image);
  }
});

test('a file outside the folder is not opened, for any form of its name', async () => {
  writeFileSync(join(here, 'outside.img'), content);
  const top = await overlay('top.qcow2', 'base.img');
  for (const name of [
    'file:../outside.img',
    `file://${join(here, 'outside.img')}`,
    'json:{"driver":"raw","file":{"driver":"file","filename":"../outside.img"}}',
  ]) {
    nameBacking(top, name, 'raw');
    refused(top, { code: 'file-not-allowed' });
  }
});

test('a colon after a slash is part of a file name', async () => {
  writeFileSync(inside('a:b.img'), content);
  const top = await overlay('top.qcow2', './a:b.img');
  const image = open(top);
  assert.deepEqual(read(image), content);
  closeImage(image);
});

test('a backing file outside the image folder is opened only when that is allowed', async () => {
  const outside = join(here, 'outside.img');
  writeFileSync(outside, content);
  symlinkSync(outside, inside('link.img'));
  mkdirSync(join(here, 'images-too'));
  const sibling = join(here, 'images-too', 'x.img');
  writeFileSync(sibling, content);
  for (const name of [outside, '../outside.img', 'link.img', sibling, '../images/../outside.img']) {
    const top = await overlay('top.qcow2', name);
    const message = /outside the image's folder: allow such files/;
    refused(top, { code: 'file-not-allowed', message });
    const image = open(top, { backing: 'allow' });
    assert.deepEqual(read(image), content);
    closeImage(image);
  }
});

test('an image lower in the chain leads no further out than the top one', async () => {
  mkdirSync(inside('lower'));
  writeFileSync(join(here, 'outside.img'), content);
  await overlay(join('lower', 'up.qcow2'), '../base.img');
  await overlay(join('lower', 'out.qcow2'), '../../outside.img');
  closeImage(open(await overlay('top1.qcow2', 'lower/up.qcow2', 'qcow2')));
  const top = await overlay('top2.qcow2', 'lower/out.qcow2', 'qcow2');
  refused(top, { code: 'file-not-allowed', message: /outside/ });
});

test('a missing backing file is named together with the image that wants it', async () => {
  const top = await overlay('top.qcow2', 'gone\u001b[31m.img');
  const message = /the backing file "gone\ufffd\[31m\.img" of .*top\.qcow2 cannot be opened/;
  refused(top, { code: 'file-unreadable', message });
});

test('a device or a folder is refused as backing file', async () => {
  for (const name of ['/dev/null', here]) {
    const top = await overlay('top.qcow2', name);
    refused(top, { code: 'invalid-disk' }, { backing: 'allow' });
  }
});

test('an external data file is opened with the image, under the same rules', async () => {
  const data = inside('data.raw');
  const path = inside('ext.qcow2');
  await qemuImgOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    `data_file=${data},data_file_raw=on`,
    path,
    '64k',
  );
  const before = openFiles();
  const image = open(path, { readOnly: false });
  image.writeSync(0, content);
  closeImage(image);
  assert.equal(openFiles(), before);
  assert.deepEqual(new Uint8Array(readFileSync(data)), content);
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  rewriteHeader(file, { ...parseHeader(file), dataFileName: '../secret.raw' });
  file.close();
  writeFileSync(join(here, 'secret.raw'), content);
  refused(path, { code: 'file-not-allowed', message: /data file .* outside/ });
  refused(path, { code: 'file-not-allowed', message: /data file .* outside/ }, { backing: 'none' });
  closeImage(open(path, { backing: 'allow' }));
});

test('an image that is its own data file is refused', async () => {
  const path = inside('ext.qcow2');
  await qemuImgOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    `data_file=${inside('d.raw')}`,
    path,
    '64k',
  );
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  rewriteHeader(file, { ...parseHeader(file), dataFileName: 'ext.qcow2' });
  file.close();
  refused(path, { code: 'invalid-disk', message: /contains a file twice/ }, { readOnly: false });
});

test('each file of a chain is locked: readers share, a writer of the base does not come in', async () => {
  const top = await overlay('top.qcow2', 'base.img');
  const image = open(top, { readOnly: false });
  const base = { format: 'raw', readOnly: false } as const;
  refused(inside('base.img'), { code: 'disk-locked' }, base);
  refused(top, { code: 'disk-locked' });
  closeImage(open(inside('base.img'), { ...base, readOnly: true }));
  closeImage(open(top, { unlocked: true }));
  refused(top, { code: 'disk-locked' }, { unlocked: true, readOnly: false });
  closeImage(image);
});

test('an image that was not closed is repaired before it is written, and only then', async () => {
  const path = inside('lazy.qcow2');
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', path, '64k');
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  writeHeader(file, { ...parseHeader(file), dirty: true });
  // The L1 table's refcount is lost, as in a crash with lazy refcounts.
  file.writeSync(2 * 65_536 + 3 * 2, Uint8Array.of(0, 0));
  file.close();
  const dirty = () => (readFileSync(path)[79] ?? 0) & 1;
  closeImage(open(path));
  assert.equal(dirty(), 1);
  closeImage(open(path, { readOnly: false }));
  assert.equal(dirty(), 0);
  await qemuImgOutput('check', '-q', path);
});

test('a corrupt image is opened for reading only', async () => {
  const path = inside('corrupt.qcow2');
  await qemuImgOutput('create', '-q', '-f', 'qcow2', path, '64k');
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  writeHeader(file, { ...parseHeader(file), corrupt: true, dirty: true });
  file.close();
  refused(path, { code: 'invalid-disk', message: /corrupt/ }, { readOnly: false });
  closeImage(open(path));
});

test('all images of a chain are closed though one cannot be', async () => {
  const top = await overlay('top.qcow2', 'base.img');
  const before = openFiles();
  const image = open(top);
  const close = image.close.bind(image);
  image.close = () => {
    close();
    throw new Error('the first failure');
  };
  assert.throws(() => closeImage(image), /the first failure/);
  assert.equal(openFiles(), before);
});
