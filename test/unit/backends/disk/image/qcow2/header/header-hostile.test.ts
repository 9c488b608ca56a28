/** Headers that lie: each is refused by name before anything is read by it. */
import assert from 'node:assert/strict';
import { copyFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openHostFile } from '../../../../../../../vmm/backends/disk/file/host-file.ts';
import { parseHeader } from '../../../../../../../vmm/backends/disk/image/qcow2/header/header.ts';
import type { Header } from '../../../../../../../vmm/backends/disk/image/qcow2/header/header-fields.ts';
import { HeaderField as Field } from '../../../../../../../vmm/backends/disk/image/qcow2/header/layout.ts';
import { hostFiles } from '../../../../../../../vmm/host/host-files.ts';
import { encodeBytes } from '../../../../../../../vmm/util/byte-names.ts';
import { temporaryFolder } from '../../../../../../support/disk-fixtures.ts';
import { patchFile } from '../../../../../../support/disk-images.ts';
import { qemuImgOutput } from '../../../../../../support/qemu-img.ts';

const folder = temporaryFolder();
after(() => folder.remove());
const good = join(folder.path, 'good.qcow2');
const path = join(folder.path, 'bad.qcow2');
const CLUSTER = 65_536;
/** Where qemu-img puts the feature name table: after the header. */
const EXTENSIONS = 112;

before(async () => {
  await qemuImgOutput('create', '-q', '-f', 'qcow2', good, '1G');
});

type Patch = readonly [number, number | bigint | Uint8Array];

function parsePatched(patches: readonly Patch[]): Header {
  copyFileSync(good, path);
  patchFile(path, patches);
  return parse();
}

function parse(): Header {
  const file = openHostFile(path, hostFiles(), { readOnly: true });
  try {
    return parseHeader(file);
  } finally {
    file.close();
  }
}

function bytes(length: number, ...fields: number[]): Uint8Array {
  const all = Buffer.alloc(length);
  for (const [index, field] of fields.entries()) all.writeUInt32BE(field, index * 4);
  return all;
}

/** What is changed, and what the refusal says. */
const REFUSED: Readonly<Record<string, readonly [readonly Patch[], RegExp]>> = {
  'another magic': [[[Field.magic, 0x51464900]], /not a qcow2 image/],
  'version 1': [[[Field.version, 1]], /version 1/],
  'version 4': [[[Field.version, 4]], /version 4/],
  'cluster_bits 8': [[[Field.cluster_bits, 8]], /cluster_bits is 8/],
  'cluster_bits 22': [[[Field.cluster_bits, 22]], /cluster_bits is 22/],
  'cluster_bits of all ones': [[[Field.cluster_bits, 0xffffffff]], /cluster_bits is 4294967295/],
  'a virtual size: too large': [[[Field.size, 0xffffffffffffffffn]], /size is too large/],
  'a virtual size that the L1 table is too small for': [[[Field.size, 1n << 42n]], /l1_size is 2/],
  'an L1 table: too large': [[[Field.l1_size, 0xffffffff]], /l1_size is too large/],
  'an L1 table inside a cluster': [[[Field.l1_table_offset, 0x30200n]], /l1_table_offset/],
  'an L1 table over the header': [[[Field.l1_table_offset, 0n]], /l1_table_offset/],
  'an L1 table whose offset overflows': [
    [[Field.l1_table_offset, 0xffffffffffff0000n]],
    /l1_table_offset is too large/,
  ],
  'an L1 table past the end of the file': [[[Field.l1_table_offset, 1n << 40n]], /end of the file/],
  'an L1 table over the refcount table': [[[Field.l1_table_offset, 0x10000n]], /overlap/],
  'no refcount table': [[[Field.refcount_table_clusters, 0]], /refcount_table_clusters is 0/],
  'a refcount table: too large': [
    [[Field.refcount_table_clusters, 0xffffffff]],
    /refcount_table_clusters is too large/,
  ],
  'a refcount table past the end of the file': [
    [[Field.refcount_table_clusters, 100]],
    /end of the file/,
  ],
  'a refcount table inside a cluster': [
    [[Field.refcount_table_offset, 1n]],
    /refcount_table_offset/,
  ],
  'snapshots: too large': [[[Field.nb_snapshots, 0x10001]], /nb_snapshots is too large/],
  'a snapshot table inside a cluster': [
    [
      [Field.nb_snapshots, 1],
      [Field.snapshots_offset, 0x20008n],
    ],
    /snapshots_offset/,
  ],
  'a snapshot table past the end of the file': [
    [
      [Field.nb_snapshots, 1],
      [Field.snapshots_offset, 1n << 50n],
    ],
    /end of the file/,
  ],
  'a snapshot table over the L1 table': [
    [
      [Field.nb_snapshots, 1],
      [Field.snapshots_offset, 0x30000n],
    ],
    /overlap/,
  ],
  'refcounts wider than 64 bits': [[[Field.refcount_order, 7]], /refcount_order is 7/],
  'a header shorter than the least': [[[Field.header_length, 96]], /header_length is 96/],
  'a header length that is no multiple of 8': [
    [[Field.header_length, 108]],
    /header_length is 108/,
  ],
  'a header longer than a cluster': [[[Field.header_length, CLUSTER + 8]], /header_length is/],
  'AES encryption': [[[Field.crypt_method, 1]], /AES encryption is not supported/],
  'LUKS encryption': [[[Field.crypt_method, 2]], /LUKS encryption is not supported/],
  'another encryption': [[[Field.crypt_method, 3]], /crypt_method 3.* encryption is not supported/],
  'a compression type without its bit': [
    [[Field.compression_type, 0x01000000]],
    /compression_type is 1/,
  ],
  'a compression bit without a type': [
    [[Field.incompatible_features, 8n]],
    /compression_type is 0/,
  ],
  'an unknown compression type': [
    [
      [Field.incompatible_features, 8n],
      [Field.compression_type, 0x07000000],
    ],
    /compression_type 7 is not supported/,
  ],
  'an unknown incompatible feature without a name': [
    [[Field.incompatible_features, 1n << 63n]],
    /incompatible feature bit 63/,
  ],
  'an unknown incompatible feature by its name, with nothing for the terminal in it': [
    [
      [Field.incompatible_features, 1n << 20n],
      [EXTENSIONS + 8, Buffer.from('\x00\x14time travel \x1b[31m\0', 'latin1')],
    ],
    /not supported: "time travel \ufffd\[31m" \(bit 20\)/,
  ],
  'an extension that is longer than the cluster': [
    [[EXTENSIONS, bytes(8, 0x12345678, 0xffffffff)]],
    /header extension 0x12345678/,
  ],
  'a backing format that occurs twice': [
    [[EXTENSIONS, bytes(40, 0xe2792aca, 4, 0x72617720, 0, 0xe2792aca, 4, 0x72617720)]],
    /occurs twice/,
  ],
  'a backing name outside the first cluster': [
    [
      [Field.backing_file_offset, 0x1_0000n],
      [Field.backing_file_size, 4],
    ],
    /backing_file_offset/,
  ],
  'a backing name whose offset overflows': [
    [
      [Field.backing_file_offset, 0xffffffff_00000400n],
      [Field.backing_file_size, 4],
    ],
    /backing_file_offset/,
  ],
  'a backing name inside the header': [
    [
      [Field.backing_file_offset, 8n],
      [Field.backing_file_size, 4],
    ],
    /backing_file_offset/,
  ],
  'a backing name that is too long': [
    [
      [Field.backing_file_offset, 0x400n],
      [Field.backing_file_size, 1024],
    ],
    /backing_file_size is 1024/,
  ],
  'a backing name that extends past the cluster': [
    [
      [Field.backing_file_offset, 0xfff0n],
      [Field.backing_file_size, 17],
    ],
    /backing_file_size is 17/,
  ],
  'a backing name with a NUL in it': [
    [
      [Field.backing_file_offset, 0x400n],
      [Field.backing_file_size, 4],
      [0x400, Buffer.from('a\0bc')],
    ],
    /NUL/,
  ],
  'extended L2 entries in clusters too small for them': [
    [
      [Field.incompatible_features, 16n],
      [Field.cluster_bits, 13],
    ],
    /too small for extended L2/,
  ],
  'snapshots beside an external data file': [
    [
      [Field.incompatible_features, 4n],
      [Field.nb_snapshots, 1],
      [Field.snapshots_offset, 0x20000n],
    ],
    /snapshots/,
  ],
  'a backing file beside a raw external data file': [
    [
      [Field.incompatible_features, 4n],
      [Field.autoclear_features, 2n],
      [Field.backing_file_offset, 0x400n],
      [Field.backing_file_size, 1],
      [0x400, Buffer.from('a')],
    ],
    /raw external data file/,
  ],
  'a bitmaps extension of another length': [
    [
      [Field.autoclear_features, 1n],
      [EXTENSIONS, bytes(24, 0x23852875, 8, 1)],
    ],
    /bitmaps extension is 8 bytes/,
  ],
  'no bitmaps in a bitmaps extension': [
    [
      [Field.autoclear_features, 1n],
      [EXTENSIONS, bytes(40, 0x23852875, 24, 0, 0, 0, 24, 0, CLUSTER)],
    ],
    /nb_bitmaps is 0/,
  ],
  'a bitmap directory inside a cluster': [
    [
      [Field.autoclear_features, 1n],
      [EXTENSIONS, bytes(40, 0x23852875, 24, 1, 0, 0, 24, 0, CLUSTER + 8)],
    ],
    /bitmap_directory_offset/,
  ],
  'a bitmap directory: too large': [
    [
      [Field.autoclear_features, 1n],
      [EXTENSIONS, bytes(40, 0x23852875, 24, 1, 0, 0xffffffff, 0, 0, CLUSTER)],
    ],
    /bitmap_directory_size/,
  ],
};

for (const [name, [patches, message]] of Object.entries(REFUSED)) {
  test(`refused: ${name}`, () => {
    assert.throws(() => parsePatched(patches), { code: 'invalid-disk', message });
  });
}

test('the patched bytes make the difference', () => {
  assert.equal(parsePatched([]).sizeBytes, 2 ** 30);
});

test('a file that is empty or ends inside the header is not an image', () => {
  for (const length of [0, 4, 71]) {
    copyFileSync(good, path);
    truncateSync(path, length);
    assert.throws(parse, { code: 'invalid-disk', message: /not a qcow2 image/ });
  }
  writeFileSync(path, new Uint8Array(1024).fill(0xff));
  assert.throws(parse, { code: 'invalid-disk' });
});

test('autoclear bits that cannot be true are ignored', () => {
  const header = parsePatched([[Field.autoclear_features, 3n]]);
  assert.equal(header.bitmapsConsistent, false);
  assert.equal(header.rawExternalData, false);
  assert.equal(header.unknownAutoclear, 0n);
});

test('a backing name that is not UTF-8 keeps its bytes', () => {
  const name = Uint8Array.of(0xc3, 0x28, 0x2e, 0xe9);
  const header = parsePatched([
    [Field.backing_file_offset, 0x400n],
    [Field.backing_file_size, name.length],
    [0x400, name],
  ]);
  assert.deepEqual(new Uint8Array(encodeBytes(header.backingName ?? '')), name);
});

test('a size that is not a multiple of 512 is rounded down, like QEMU', () => {
  assert.equal(parsePatched([[Field.size, 0x100003ffn]]).sizeBytes, 0x10000200);
});

test('any byte of a header changed: it is refused or read, nothing else happens', () => {
  for (let at = 0; at < 128; at++) {
    for (const value of [0x00, 0x01, 0x7f, 0x80, 0xff]) {
      try {
        parsePatched([[at, Uint8Array.of(value)]]);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'invalid-disk', `byte ${at}: ${error}`);
      }
    }
  }
});
