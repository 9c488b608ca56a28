/** Headers that qemu-img has written, and headers of ours that it reads. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openHostFile } from '../../../../../../../vmm/backends/disk/file/host-file.ts';
import type { ImageFile } from '../../../../../../../vmm/backends/disk/file/image-file.ts';
import { parseHeader } from '../../../../../../../vmm/backends/disk/image/qcow2/header/header.ts';
import {
  encodeHeader,
  rewriteHeader,
  writeHeader,
} from '../../../../../../../vmm/backends/disk/image/qcow2/header/header-encode.ts';
import type { Header } from '../../../../../../../vmm/backends/disk/image/qcow2/header/header-fields.ts';
import { HeaderField } from '../../../../../../../vmm/backends/disk/image/qcow2/header/layout.ts';
import { hostFiles } from '../../../../../../../vmm/host/host-files.ts';
import { temporaryFolder } from '../../../../../../support/disk-fixtures.ts';
import { fileBytes, patchFile } from '../../../../../../support/disk-images.ts';
import { MemoryImageFile } from '../../../../../../support/memory-image-file.ts';
import { qemuCheck, qemuImgOutput } from '../../../../../../support/qemu-img.ts';

const folder = temporaryFolder();
after(() => folder.remove());
const base = join(folder.path, 'base.img');
writeFileSync(base, new Uint8Array(4096));

let count = 0;
async function qemuImage(options: string, size = '64M', ...more: string[]): Promise<string> {
  const path = join(folder.path, `${count++}.qcow2`);
  const given = options === '' ? [] : ['-o', options];
  await qemuImgOutput('create', '-q', '-f', 'qcow2', ...given, ...more, path, size);
  return path;
}

function readHeader(path: string): Header {
  const file = openHostFile(path, hostFiles(), { readOnly: true });
  try {
    return parseHeader(file);
  } finally {
    file.close();
  }
}

/** Lets `change` have the open file and its header. */
function withFile<T>(path: string, change: (file: ImageFile, header: Header) => T): T {
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  try {
    return change(file, parseHeader(file));
  } finally {
    file.close();
  }
}

interface QemuInfo {
  readonly 'virtual-size': number;
  readonly 'cluster-size': number;
  readonly 'backing-filename'?: string;
  readonly 'backing-filename-format'?: string;
  readonly 'format-specific': { readonly data: Readonly<Record<string, unknown>> };
}

async function qemuInfo(path: string): Promise<QemuInfo> {
  return JSON.parse(await qemuImgOutput('info', '--output=json', path)) as QemuInfo;
}

const OPTIONS = [
  '',
  'compat=0.10',
  'cluster_size=512',
  'cluster_size=2M',
  'refcount_bits=1',
  'refcount_bits=64',
  'lazy_refcounts=on',
  'compression_type=zstd',
  'extended_l2=on',
  'cluster_size=16k,extended_l2=on,lazy_refcounts=on,refcount_bits=8,compression_type=zstd',
  `backing_file=${base},backing_fmt=raw`,
  `compat=0.10,backing_file=${base},backing_fmt=raw`,
  `cluster_size=512,backing_file=${base},backing_fmt=raw`,
  `data_file=${join(folder.path, 'data.raw')}`,
  `data_file=${join(folder.path, 'data2.raw')},data_file_raw=on`,
];

for (const options of OPTIONS) {
  test(`qemu-img create -o ${options}: each field as in qemu-img info`, async () => {
    const path = await qemuImage(options);
    const header = readHeader(path);
    const info = await qemuInfo(path);
    const { data } = info['format-specific'];
    assert.equal(header.sizeBytes, info['virtual-size']);
    assert.equal(2 ** header.clusterBits, info['cluster-size']);
    assert.equal(header.version === 2 ? '0.10' : '1.1', data['compat']);
    assert.equal(header.refcountBits, data['refcount-bits']);
    assert.equal(header.compressionType, data['compression-type']);
    assert.equal(header.lazyRefcounts, data['lazy-refcounts'] ?? false);
    assert.equal(header.extendedL2, data['extended-l2'] ?? false);
    assert.equal(header.corrupt, data['corrupt'] ?? false);
    assert.equal(header.dataFileName, data['data-file']);
    assert.equal(header.rawExternalData, data['data-file-raw'] ?? false);
    assert.equal(header.backingName, info['backing-filename']);
    assert.equal(header.backingFormat, info['backing-filename-format']);
  });

  test(`qemu-img create -o ${options}: encoded again, each byte is the same`, async () => {
    const path = await qemuImage(options);
    const bytes = encodeHeader(readHeader(path));
    assert.deepEqual(fileBytes(path, 0, bytes.length), bytes);
  });
}

test('snapshots, a dirty bit and bitmaps are seen', async () => {
  const path = await qemuImage('lazy_refcounts=on');
  await qemuImgOutput('snapshot', '-c', 'one', path);
  await qemuImgOutput('bitmap', '--add', path, 'b0');
  assert.equal(readHeader(path).snapshotCount, 1);
  const { bitmaps, bitmapsConsistent } = readHeader(path);
  assert.equal(bitmapsConsistent, true);
  assert.equal(bitmaps?.count, 1);
  assert.ok((bitmaps?.directoryOffset ?? 0) > 0);
  withFile(path, (file, header) => writeHeader(file, { ...header, dirty: true }));
  assert.equal(readHeader(path).dirty, true);
  assert.equal(((await qemuInfo(path)) as { 'dirty-flag'?: boolean })['dirty-flag'], true);
});

test('bitmaps without their autoclear bit are not believed, and are kept', async () => {
  const path = await qemuImage('');
  await qemuImgOutput('bitmap', '--add', path, 'b0');
  withFile(path, (file, header) => writeHeader(file, { ...header, bitmapsConsistent: false }));
  const header = readHeader(path);
  assert.equal(header.bitmaps, undefined);
  assert.equal(
    header.extensions.some(({ type }) => type === 0x23852875),
    true,
  );
});

test('unknown compatible and autoclear bits, fields and extensions stay as they are', async () => {
  const path = await qemuImage('');
  const before = readHeader(path);
  const unknown = { type: 0x12345678, data: new TextEncoder().encode('eleven byte') };
  withFile(path, (file, header) => {
    rewriteHeader(file, { ...header, extensions: [...header.extensions, unknown] });
  });
  patchFile(path, [
    [HeaderField.compatible_features, 1n << 40n],
    [HeaderField.autoclear_features, 1n << 50n],
    [108, 0xdecade],
  ]);
  withFile(path, (file, header) => {
    rewriteHeader(file, { ...header, backingName: base, backingFormat: 'raw' });
  });
  const header = readHeader(path);
  assert.equal(header.unknownCompatible, 1n << 40n);
  assert.equal(header.unknownAutoclear, 1n << 50n);
  assert.equal(header.backingName, base);
  assert.deepEqual(header.extensions, [...before.extensions, unknown]);
  assert.equal(Buffer.from(fileBytes(path, 108, 4)).readUInt32BE(), 0xdecade);
});

test('a longer version 3 header keeps its unknown fields', async () => {
  const path = await qemuImage('');
  const header = readHeader(path);
  const unknownFields = new Uint8Array(header.unknownFields.length + 24).fill(0x5a, 16);
  withFile(path, (file) => {
    rewriteHeader(file, { ...header, headerBytes: header.headerBytes + 24, unknownFields });
    writeHeader(file, { ...parseHeader(file), lazyRefcounts: true });
  });
  assert.deepEqual(readHeader(path).unknownFields, unknownFields);
  assert.equal((await qemuInfo(path))['format-specific'].data['lazy-refcounts'], true);
});

test('a backing file is put in, changed and taken out, and qemu-img agrees', async () => {
  for (const options of ['', 'compat=0.10', 'cluster_size=512']) {
    const path = await qemuImage(options);
    for (const name of [base, `${folder.path}/./././base.img`, './base.img', undefined]) {
      const backingFormat = name === undefined ? undefined : 'raw';
      withFile(path, (file, header) =>
        rewriteHeader(file, { ...header, backingName: name, backingFormat }),
      );
      assert.equal((await qemuInfo(path))['backing-filename'], name);
      assert.equal((await qemuInfo(path))['backing-filename-format'], backingFormat);
      assert.equal((await qemuCheck(path)).corruptions, 0);
    }
  }
});

test('a new backing name overwrites nothing of the old one before it counts', async () => {
  const path = await qemuImage(`backing_file=${base},backing_fmt=raw`);
  const file = new MemoryImageFile(fileBytes(path, 0, 262144));
  const oldName = parseHeader(file).backingName;
  const writes: number[] = [];
  const plainWrite = file.writeSync.bind(file);
  file.writeSync = (offset, data) => {
    // Nothing before the last write changes what the header says.
    assert.equal(parseHeader(file).backingName, oldName);
    writes.push(offset);
    plainWrite(offset, data);
  };
  rewriteHeader(file, { ...parseHeader(file), backingName: 'other/name.img' });
  assert.equal(parseHeader(file).backingName, 'other/name.img');
  assert.deepEqual(
    writes.map((offset) => offset === 0),
    [false, true],
  );
});

test('a name that does not fit is refused', async () => {
  const path = await qemuImage('cluster_size=512');
  withFile(path, (file, header) => {
    const backingName = 'n'.repeat(500);
    assert.throws(() => rewriteHeader(file, { ...header, backingName }), {
      code: 'invalid-config',
    });
  });
  const large = await qemuImage('');
  withFile(large, (file, header) => {
    const backingName = 'n'.repeat(1024);
    assert.throws(() => rewriteHeader(file, { ...header, backingName }), {
      code: 'invalid-config',
    });
    rewriteHeader(file, { ...header, backingName: 'n'.repeat(1023), backingFormat: 'raw' });
  });
  assert.equal(readHeader(large).backingName?.length, 1023);
});
