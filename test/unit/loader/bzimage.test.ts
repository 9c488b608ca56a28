import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { TsvmError } from '../../../vmm/errors.ts';
import { isBzImage, parseBzImage } from '../../../vmm/loader/bzimage.ts';
import {
  buildBzImage,
  bytesImage,
  CODE_OFFSET,
  FORMATS,
  PAYLOAD_OFFSET,
  packPayload,
  sampleBytes,
  seededRandom,
  tsvmError,
  u32,
} from './kernel-fixtures.ts';

const KERNEL = sampleBytes(5000);
const IMAGE = buildBzImage(gzipSync(KERNEL), 0x10000);
const PAYLOAD_AT = CODE_OFFSET + PAYLOAD_OFFSET;

const parse = (bytes: Uint8Array) => parseBzImage(bytesImage(bytes, 'bzImage'));

function changed(change: (image: Buffer) => void): Buffer {
  const image = Buffer.from(IMAGE);
  change(image);
  return image;
}

for (const format of FORMATS) {
  test(`a ${format} payload is recognised, with its length and unpacked size`, () => {
    const payload = packPayload(format, KERNEL);
    assert.deepEqual(parse(buildBzImage(payload)).payload, {
      format,
      fileOffset: PAYLOAD_AT,
      sizeBytes: payload.length - (format === 'gzip' ? 0 : 4),
      unpackedSizeBytes: KERNEL.length,
    });
  });
}

test('an uncompressed ELF payload is recognized', () => {
  const payload = Buffer.concat([Buffer.from('\x7fELF', 'latin1'), KERNEL]);
  assert.deepEqual(parse(buildBzImage(payload)).payload, {
    format: 'none',
    fileOffset: PAYLOAD_AT,
    sizeBytes: payload.length,
    unpackedSizeBytes: payload.length,
  });
});

test('the header fields are parsed', () => {
  const image = parse(IMAGE);
  assert.equal(image.version, 0x020f);
  assert.equal(image.commandLineMaxBytes, 2047);
  assert.equal(image.initrdAddressMax, 0x7fffffff);
  assert.deepEqual(Buffer.from(image.setupHeader), IMAGE.subarray(0x1f1, 0x26c));
  assert.deepEqual(image.code, {
    fileOffset: CODE_OFFSET,
    sizeBytes: IMAGE.length - CODE_OFFSET,
    gpa: 0x1000000,
    memSizeBytes: 0x10000,
    has64BitEntry: true,
    is32BitOnly: false,
  });
});

test('setup_sects of 0 means 4', () => {
  const payload = gzipSync(KERNEL);
  const image = changed((bytes) => {
    bytes.writeUInt8(0, 0x1f1);
    bytes.writeUInt32LE(PAYLOAD_OFFSET - 512, 0x248);
    bytes.writeUInt32LE(bytes.readUInt32LE(0x1f4) - 32, 0x1f4);
  });
  assert.equal(parse(image).payload?.fileOffset, PAYLOAD_AT);
  assert.equal(parse(image).payload?.sizeBytes, payload.length);
  assert.equal(parse(image).code.fileOffset, CODE_OFFSET + 512);
});

test('no 64-bit entry without XLF_KERNEL_64: a 32-bit kernel since protocol 2.12', () => {
  const without = parse(changed((b) => b.writeUInt16LE(0x62, 0x236))).code;
  assert.deepEqual([without.has64BitEntry, without.is32BitOnly], [false, true]);
  const older = parse(changed((b) => b.writeUInt16LE(0x020b, 0x206))).code;
  assert.deepEqual([older.has64BitEntry, older.is32BitOnly], [false, false]);
});

test('before protocol 2.10, code goes to 1 MiB and states no memory of its own', () => {
  const image = changed((bytes) => {
    bytes.writeUInt16LE(0x0209, 0x206);
    bytes.writeUInt8(0x250 - 0x202, 0x201);
  });
  const { gpa, sizeBytes, memSizeBytes } = parse(image).code;
  assert.equal(gpa, 0x100000);
  assert.equal(memSizeBytes, sizeBytes);
});

test('code with no preferred address goes to 1 MiB', () => {
  const image = changed((bytes) => {
    bytes.writeBigUInt64LE(0n, 0x258);
    bytes.writeUInt32LE(0x100000, 0x230);
  });
  assert.equal(parse(image).code.gpa, 0x100000);
});

test('a kernel that moves itself to its alignment needs memory up to there', () => {
  const unaligned = (bytes: Buffer) => bytes.writeBigUInt64LE(0x1000200n, 0x258);
  assert.equal(parse(changed(unaligned)).code.gpa, 0x1000200);
  assert.equal(parse(changed(unaligned)).code.memSizeBytes, 0x1ffe00 + 0x10000);
  const fixed = changed((bytes) => {
    unaligned(bytes);
    bytes.writeUInt8(0, 0x234);
    bytes.writeUInt32LE(0, 0x230);
  });
  assert.equal(parse(fixed).code.memSizeBytes, 0x10000);
});

test('a payload that is not known here is left to the image’s own code', () => {
  const unknown = parse(changed((b) => b.fill(0xab, PAYLOAD_AT, PAYLOAD_AT + 9)));
  assert.equal(unknown.payload, undefined);
  assert.match(`${unknown.payloadProblem}`, /unknown payload format, magic bytes abab/);

  const none = parse(changed((b) => b.writeUInt32LE(0, 0x248)));
  assert.equal(none.payload, undefined);
  assert.equal(none.payloadProblem, undefined);
});

test('XLF_CAN_BE_LOADED_ABOVE_4G lets an initrd be anywhere, from protocol 2.12 on', () => {
  assert.equal(parse(IMAGE).initrdAnywhere, true);
  assert.equal(parse(changed((b) => b.writeUInt16LE(1, 0x236))).initrdAnywhere, false);
  assert.equal(parse(changed((b) => b.writeUInt16LE(0x020b, 0x206))).initrdAnywhere, false);
});

const LIES: readonly (readonly [string, (image: Buffer) => void, RegExp])[] = [
  ['boot_flag', (b) => b.writeUInt16LE(0xaa54, 0x1fe), /boot_flag: 0xaa54 .* 0xaa55/],
  ['header', (b) => b.write('HdrX', 0x202), /header: 0x58726448 .* 0x53726448/],
  ['an old version', (b) => b.writeUInt16LE(0x0207, 0x206), /version: .* 2\.07 .* 2\.08/],
  ['a jump that is none', (b) => b.writeUInt8(0x90, 0x200), /jump: /],
  [
    'a header that ends before its fields',
    (b) => b.writeUInt8(0x30, 0x201),
    /jump: .* 0x232, .* 2\.15 needs 0x264 to 0x290/,
  ],
  ['a header longer than its place', (b) => b.writeUInt8(0xff, 0x201), /jump: .* 0x301, .* 0x290/],
  ['a zImage', (b) => b.writeUInt8(0, 0x211), /loadflags: LOADED_HIGH/],
  [
    'setup beyond the file',
    (b) => b.writeUInt8(255, 0x1f1),
    new RegExp(`setup_sects: .* 131072, .* ${IMAGE.length}$`),
  ],
  [
    'code beyond the file',
    (b) => b.writeUInt32LE(0xffffffff, 0x1f4),
    new RegExp(`syssize: .* ${CODE_OFFSET + 0xffffffff * 16}, .* ${IMAGE.length}$`),
  ],
  [
    'a payload offset beyond the file',
    (b) => b.writeUInt32LE(0xffffff00, 0x248),
    new RegExp(`payload_offset: .* ${CODE_OFFSET + 0xffffff00}, .* ${IMAGE.length}$`),
  ],
  [
    'a payload longer than the file',
    (b) => b.writeUInt32LE(0xffffffff, 0x24c),
    new RegExp(`payload_length: .* ${PAYLOAD_AT + 0xffffffff}, .* ${IMAGE.length}$`),
  ],
  [
    'a payload one byte longer than the file',
    (b) => b.writeUInt32LE(IMAGE.length - PAYLOAD_AT + 1, 0x24c),
    new RegExp(`payload_length: .* ${IMAGE.length + 1}, .* ${IMAGE.length}$`),
  ],
  ['a payload of nothing', (b) => b.writeUInt32LE(0, 0x24c), /payload_length: 0 bytes/],
  [
    'an unpacked size above init_size',
    (b) => b.writeUInt32LE(4999, 0x260),
    /unpacked size .*: 5000 bytes .* 1\.\.4999 \(init_size\)/,
  ],
  [
    'an unpacked size above 1 GiB',
    (b) => {
      b.writeUInt32LE(0xffffffff, 0x260);
      b.set(u32(2 ** 30 + 1), PAYLOAD_AT + b.readUInt32LE(0x24c) - 4);
    },
    /unpacked size .*: 1073741825 bytes .* 1\.\.1073741824/,
  ],
  ['an alignment of 0', (b) => b.writeUInt32LE(0, 0x230), /kernel_alignment: 0 /],
  ['an alignment of 3', (b) => b.writeUInt32LE(3, 0x230), /kernel_alignment: 3 /],
  [
    'a preferred address out of range',
    (b) => b.writeBigUInt64LE(1n << 60n, 0x258),
    /pref_address: 0x1000000000000000 /,
  ],
];

test('an error names the invalid field', async (t) => {
  for (const [what, lie, message] of LIES) {
    await t.test(what, () => {
      assert.throws(() => parse(changed(lie)), tsvmError('invalid-kernel', message));
    });
  }
});

test('an image cut at any byte is refused', () => {
  const step = (length: number) => (length < PAYLOAD_AT ? 1 : 37);
  for (let length = 0; length < IMAGE.length; length += step(length)) {
    const cut = IMAGE.subarray(0, length);
    assert.throws(
      () => parse(cut),
      tsvmError('invalid-kernel', /^bzImage: \S.*\d/),
      `at ${length}`,
    );
    if (length < 0x206) assert.equal(isBzImage(bytesImage(cut)), false);
  }
  assert.doesNotThrow(() => parse(IMAGE));
});

test('no change of header bytes makes anything but a TsvmError', () => {
  const random = seededRandom(2);
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    const image = changed((bytes) => {
      for (let i = 0; i < 2; i++) bytes[0x1f1 + random(0x7b)] = random(256);
    });
    try {
      const { payload, code, setupHeader } = parse(image);
      assert.ok(!payload || payload.fileOffset + payload.sizeBytes <= image.length);
      assert.ok(!payload || payload.unpackedSizeBytes > 0);
      assert.ok(!payload || payload.unpackedSizeBytes <= 2 ** 30);
      assert.ok(code.fileOffset + code.sizeBytes <= image.length);
      assert.ok(code.memSizeBytes >= code.sizeBytes);
      assert.ok(setupHeader.length <= 0x290 - 0x1f1);
    } catch (error) {
      assert.ok(error instanceof TsvmError, String(error));
      refused++;
    }
  }
  assert.ok(refused > 1000);
});
