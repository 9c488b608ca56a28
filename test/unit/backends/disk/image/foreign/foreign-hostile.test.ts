/** Images of other programs that lie: refused by name, within bounds of memory and time. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openHostFile } from '../../../../../../vmm/backends/disk/file/host-file.ts';
import { crc32c } from '../../../../../../vmm/backends/disk/image/foreign/crc32c.ts';
import { openForeignImage } from '../../../../../../vmm/backends/disk/image/foreign/open-foreign.ts';
import type { ForeignFormat } from '../../../../../../vmm/backends/disk/image/format.ts';
import { chainRuns } from '../../../../../../vmm/backends/disk/image/tools/chain-map.ts';
import { hostFiles } from '../../../../../../vmm/host/host-files.ts';
import { temporaryFolder } from '../../../../../support/disk-fixtures.ts';
import { patchFile } from '../../../../../support/disk-images.ts';
import { qemuImgOutput } from '../../../../../support/qemu-img.ts';
import { Random } from '../../../../../support/random.ts';

const temporary = temporaryFolder();
const folder = temporary.path;
const path = join(folder, 'patched');
const IMAGES: Readonly<Record<string, readonly [ForeignFormat, string]>> = {
  sparse: ['vmdk', 'subformat=monolithicSparse'],
  stream: ['vmdk', 'subformat=streamOptimized'],
  vhdx: ['vhdx', 'block_size=1M'],
  vpc: ['vpc', 'force_size=on'],
};

before(async () => {
  const content = Buffer.alloc(3 * 2 ** 20, 'content ');
  content.fill(0, 2 ** 20, 2 * 2 ** 20);
  writeFileSync(join(folder, 'raw'), content);
  for (const [name, [format, options]] of Object.entries(IMAGES)) {
    const args = [
      '-f',
      'raw',
      '-O',
      format,
      '-o',
      options,
      join(folder, 'raw'),
      join(folder, name),
    ];
    await qemuImgOutput('convert', ...args);
  }
});
after(() => temporary.remove());

/** Opens an image and goes through all of it; what it throws is the answer. */
function readAll(format: ForeignFormat): void {
  const file = openHostFile(path, hostFiles(), { readOnly: true });
  try {
    const image = openForeignImage(format, file);
    let bytes = 0;
    // An image that says it is huge is mapped, and read at its start.
    for (const { offset, length } of chainRuns(image, 0, Math.min(image.sizeBytes, 2 ** 33))) {
      if (bytes > 2 ** 24) break;
      const part = new Uint8Array(Math.min(length, 2 ** 20));
      image.readSync(offset, part);
      bytes += part.length;
    }
  } finally {
    file.close();
  }
}

type Patch = readonly [offset: number, bytes: Uint8Array];

function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

function u64(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function be32(value: number): Uint8Array {
  return Buffer.from(u32(value)).reverse();
}

function be64(value: bigint): Uint8Array {
  return Buffer.from(u64(value)).reverse();
}

/** Puts the right checksums into a VHD or VHDX again: what lies shall not be found by them. */
function mendSums(name: string): void {
  const bytes = readFileSync(path);
  if (name === 'vpc') {
    for (const [start, length, field] of [
      [0, 512, 64],
      [512, 1024, 36],
    ] as const) {
      const part = bytes.subarray(start, start + length);
      part.fill(0, field, field + 4);
      part.writeUInt32BE(~part.reduce((sum, byte) => sum + byte, 0) >>> 0, field);
    }
  }
  if (name === 'vhdx') {
    for (const [start, length] of [
      [65_536, 4096],
      [131_072, 4096],
      [196_608, 65_536],
      [262_144, 65_536],
    ] as const) {
      const part = bytes.subarray(start, start + length);
      part.fill(0, 4, 8);
      part.writeUInt32LE(crc32c(part), 4);
    }
  }
  writeFileSync(path, bytes);
}

function patched(name: string, patches: readonly Patch[]): void {
  copyFileSync(join(folder, name), path);
  patchFile(path, patches);
  mendSums(name);
}

const HUGE = 0x7fff_ffff_ffff_ffffn;
/** Both headers of a VHDX, and both region tables. */
const both = (one: number, other: number, bytes: Uint8Array): Patch[] => [
  [one, bytes],
  [other, bytes],
];
/** The metadata region of the images that qemu-img makes, and the items in it. */
const METADATA = 3 * 2 ** 20;

const REFUSED: Readonly<
  Record<string, readonly [image: string, patches: readonly Patch[], RegExp]>
> = {
  'no vmdk at all': ['sparse', [[0, Buffer.from('abcd')]], /not a vmdk/],
  'a vmdk version of the future': ['sparse', [[4, u32(9)]], /version 9/],
  'a vmdk disk: too large': ['sparse', [[12, u64(HUGE)]], /too large/],
  'a vmdk disk that its directory does not cover': ['sparse', [[12, u64(2n ** 36n)]], /directory/],
  'grains of 512 bytes': ['sparse', [[20, u64(1n)]], /grain size is 512/],
  'grains: too large': ['sparse', [[20, u64(HUGE)]], /grain size/],
  'grains of no power of two': ['sparse', [[20, u64(100n)]], /grain size/],
  'grains of nothing': ['sparse', [[20, u64(0n)]], /grain size/],
  'grain tables without entries': ['sparse', [[44, u32(0)]], /0 entries/],
  'grain tables: too large': ['sparse', [[44, u32(0xffff_ffff)]], /entries/],
  'a directory past the end': ['sparse', [[56, u64(2n ** 40n)]], /directory/],
  'a directory nowhere': ['sparse', [[56, u64(0n)]], /directory/],
  'a descriptor: too large': ['sparse', [[36, u64(HUGE)]], /descriptor/],
  'a descriptor past the end': ['sparse', [[28, u64(2n ** 40n)]], /descriptor/],
  'a part of a vmdk in several files': ['sparse', [[28, u64(0n)]], /several files/],
  'a stream without a footer': ['stream', [[56, u64(0xffff_ffff_ffff_ffffn)]], /footer is missing/],
  'a stream with an unknown compression': ['stream', [[77, Buffer.of(7, 0)]], /unknown way/],

  'no vhdx at all': ['vhdx', [[0, Buffer.from('abcdefgh')]], /not a VHDX/],
  'no vhdx header': ['vhdx', both(65_536, 131_072, Buffer.from('tail')), /no valid header/],
  'a vhdx version of the future': [
    'vhdx',
    both(65_536 + 66, 131_072 + 66, Buffer.of(2, 0)),
    /version 2/,
  ],
  'a vhdx log that was not replayed': [
    'vhdx',
    both(65_536 + 48, 131_072 + 48, Buffer.of(1)),
    /log/,
  ],
  'region tables: too large': ['vhdx', both(196_608 + 8, 262_144 + 8, u32(0xffff_ffff)), /entries/],
  'no regions': ['vhdx', both(196_608 + 8, 262_144 + 8, u32(0)), /lacks a region/],
  'a region past the end': ['vhdx', both(196_608 + 32, 262_144 + 32, u64(2n ** 50n)), /region at/],
  'a region over the headers': ['vhdx', both(196_608 + 32, 262_144 + 32, u64(0n)), /region at/],
  'no metadata table': ['vhdx', [[METADATA, Buffer.from('atadatem')]], /no metadata table/],
  'metadata entries: too large': ['vhdx', [[METADATA + 10, Buffer.of(0xff, 0xff)]], /entries/],
  'a metadata item outside its region': [
    'vhdx',
    [[METADATA + 32 + 16, u32(0xffff_fff0)]],
    /outside/,
  ],
  'vhdx blocks of nothing': ['vhdx', [[METADATA + 65_536, u32(0)]], /block size is 0/],
  'vhdx blocks: too large': ['vhdx', [[METADATA + 65_536, u32(2 ** 31)]], /block size/],
  'vhdx blocks of no power of two': ['vhdx', [[METADATA + 65_536, u32(3 * 2 ** 20)]], /block size/],
  'a vhdx with a parent': ['vhdx', [[METADATA + 65_536 + 4, u32(2)]], /parent/],
  'a vhdx disk: too large': ['vhdx', [[METADATA + 65_536 + 8, u64(HUGE)]], /invalid size/],
  'a vhdx table too short for the disk': [
    'vhdx',
    [[METADATA + 65_536 + 8, u64(2n ** 45n)]],
    /too short/,
  ],
  'no vhd at all': ['vpc', [[0, Buffer.from('abcdefgh')]], /dynamic|VHD/],
  'a differencing vhd': ['vpc', [[60, be32(4)]], /parent/],
  'an unknown type of vhd': ['vpc', [[60, be32(77)]], /type 77/],
  'a vhd header past the end': ['vpc', [[16, be64(2n ** 50n)]], /dynamic header/],
  'a vhd header that is none': ['vpc', [[512, Buffer.from('abcdefgh')]], /dynamic header/],
  'vhd blocks of nothing': ['vpc', [[512 + 32, be32(0)]], /block size is 0/],
  'vhd blocks: too large': ['vpc', [[512 + 32, be32(2 ** 31)]], /block size/],
  'vhd blocks of no power of two': ['vpc', [[512 + 32, be32(1000)]], /block size/],
  'a vhd table too short for the disk': ['vpc', [[512 + 28, be32(0)]], /too few/],
  'a vhd table past the end': ['vpc', [[512 + 16, be64(2n ** 50n)]], /past the end/],
  'a vhd table at an odd place': ['vpc', [[512 + 16, be64(1537n)]], /past the end/],
  'a vhd disk: too large': [
    'vpc',
    [
      [48, be64(HUGE)],
      [512 + 28, be32(0xffff_ffff)],
    ],
    /too large/,
  ],
};

for (const [what, [name, patches, message]] of Object.entries(REFUSED)) {
  test(`refused: ${what}`, () => {
    patched(name, patches);
    const [format = 'vmdk'] = IMAGES[name] ?? [];
    assert.throws(() => readAll(format), { code: 'invalid-disk', message });
  });
}

test('the patched bytes make the difference', () => {
  for (const [name, [format]] of Object.entries(IMAGES)) {
    patched(name, []);
    readAll(format);
  }
});

test('blocks that lie past the end of the file are refused, not read as zeroes', () => {
  const sparse = readFileSync(join(folder, 'sparse'));
  const gd = Number(sparse.readBigUInt64LE(56)) * 512;
  const gt = sparse.readUInt32LE(gd) * 512;
  patched('sparse', [[gt, u32(0x7fff_ffff)]]);
  assert.throws(() => readAll('vmdk'), { code: 'invalid-disk', message: /block 0 lies at/ });
  patched('sparse', [[gd, u32(0x7fff_ffff)]]);
  assert.throws(() => readAll('vmdk'), { code: 'invalid-disk', message: /grain table 0/ });
  patched('vpc', [[1536, be32(0x7fff_ffff)]]);
  assert.throws(() => readAll('vpc'), { code: 'invalid-disk', message: /block 0 lies at/ });
});

test('a stream with the directory’s offset in its footer, as written by VMware', () => {
  const stream = readFileSync(join(folder, 'stream'));
  const header = Buffer.from(stream.subarray(0, 512));
  stream.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 56);
  writeFileSync(path, Buffer.concat([stream, Buffer.alloc(512), header, Buffer.alloc(512)]));
  const image = openForeignImage('vmdk', openHostFile(path, hostFiles(), { readOnly: true }));
  const content = Buffer.alloc(image.sizeBytes);
  image.readSync(0, content);
  assert.ok(content.equals(readFileSync(join(folder, 'raw'))));
  image.close();
});

test('an invalid compressed grain: too long, broken, or larger when inflated', () => {
  const stream = readFileSync(join(folder, 'stream'));
  const gd = Number(stream.readBigUInt64LE(56)) * 512;
  const grain = stream.readUInt32LE(stream.readUInt32LE(gd) * 512) * 512;
  for (const [patch, message] of [
    [[grain + 8, u32(0xffff_ffff)], /is invalid/],
    [[grain + 8, u32(0)], /is invalid/],
    [[grain + 12, u32(0xdead_beef)], /cannot be inflated/],
  ] as const) {
    patched('stream', [patch]);
    assert.throws(() => readAll('vmdk'), { code: 'invalid-disk', message });
  }
});

test('files that are cut off anywhere, or empty', () => {
  for (const [name, [format]] of Object.entries(IMAGES)) {
    const { size } = statSync(join(folder, name));
    for (const length of [0, 1, 511, 512, 1024, 65_536, 70_000, 200_000, size - 512]) {
      copyFileSync(join(folder, name), path);
      truncateSync(path, Math.min(length, size));
      try {
        readAll(format);
      } catch (error) {
        assert.equal(
          (error as { code?: string }).code,
          'invalid-disk',
          `${name} ${length}: ${error}`,
        );
      }
    }
  }
});

test('any bytes of the metadata changed: it is refused or read, nothing else happens', () => {
  const random = new Random(12);
  for (const [name, [format]] of Object.entries(IMAGES)) {
    for (let round = 0; round < 120; round++) {
      const { size } = statSync(join(folder, name));
      const area = random.below(2) === 0 ? 4096 : Math.min(size, 4 * 2 ** 20);
      const patches = Array.from({ length: random.between(1, 4) }, (): Patch => {
        return [random.below(area - 8), u32(random.uint32())];
      });
      patched(name, patches);
      try {
        readAll(format);
      } catch (error) {
        const { code } = error as { code?: string };
        assert.equal(code, 'invalid-disk', `${name} ${JSON.stringify(patches)}: ${error}`);
      }
    }
  }
});
