import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { TsvmError } from '../../../vmm/errors.ts';
import { BootFile } from '../../../vmm/loader/boot-file.ts';
import { parseElf } from '../../../vmm/loader/elf.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import {
  buildElf,
  bytesImage,
  seededRandom,
  temporaryDirectory,
  tsvmError,
} from './kernel-fixtures.ts';

/** Offsets in the file header and in a program header; see elf(5). */
const EHDR = {
  class: 4,
  data: 5,
  type: 16,
  machine: 18,
  entry: 24,
  phoff: 32,
  phentsize: 54,
  phnum: 56,
};

/** What `readelf` says: class, entry and PT_LOAD segments. */
function readelf(path: string) {
  const text = execFileSync('readelf', ['-hlW', path], { encoding: 'utf8' });
  const entry = Number(/Entry point address: +(0x[0-9a-f]+)$/m.exec(text)?.[1]);
  const loads = text.matchAll(/^ +LOAD +(\S+) +\S+ +(\S+) +(\S+) +(\S+)/gm);
  const segments = [...loads].map(([, fileOffset, gpa, fileSizeBytes, memSizeBytes]) => ({
    fileOffset: Number(fileOffset),
    fileSizeBytes: Number(fileSizeBytes),
    gpa: Number(gpa),
    memSizeBytes: Number(memSizeBytes),
  }));
  return { is32Bit: / ELF32$/m.test(text), entry, segments };
}

function symbol(path: string, name: string): number {
  const line = execFileSync('nm', [path], { encoding: 'utf8' }).match(`(\\w+) . ${name}\n`);
  return Number(`0x${line?.[1]}`);
}

function parseFile(t: TestContext, path: string) {
  const image = new BootFile(path);
  t.after(() => image.close());
  return parseElf(image);
}

test('a kernel without a PVH note is read as readelf reads it', (t) => {
  const { path } = buildElf(temporaryDirectory(t));
  const expected = readelf(path);
  assert.equal(expected.segments.length, 2);
  assert.deepEqual(parseFile(t, path), expected);
});

for (const width of [4, 8] as const) {
  test(`a PVH note of ${width} bytes gives its entry`, (t) => {
    const { path } = buildElf(temporaryDirectory(t), width);
    const pvhEntry = symbol(path, 'pvh_start');
    assert.equal(pvhEntry, 0x1000010);
    assert.deepEqual(parseFile(t, path), { ...readelf(path), pvhEntry });
  });
}

test('a 32-bit kernel with a PVH note is read as readelf reads it', (t) => {
  const { path } = buildElf(temporaryDirectory(t), 4, 32);
  const expected = readelf(path);
  assert.equal(expected.segments.length, 2);
  assert.deepEqual(parseFile(t, path), { ...expected, pvhEntry: symbol(path, 'pvh_start') });
});

test('a 32-bit kernel without a PVH note is refused', (t) => {
  const { path } = buildElf(temporaryDirectory(t), undefined, 32);
  assert.throws(
    () => parseFile(t, path),
    tsvmError('invalid-kernel', /EI_CLASS: it is a 32-bit file without a PVH note; .* bzImage/),
  );
});

test('the entry of the header has to be in a segment, unless a PVH note gives another', (t) => {
  for (const entry of [0xffffffff81000000n, 0xffffffn, 2n ** 53n + 1n]) {
    const [plain, pvh] = ([undefined, 4] as const).map((word) => {
      const elf = Buffer.from(buildElf(temporaryDirectory(t), word).bytes);
      elf.writeBigUInt64LE(entry, EHDR.entry);
      return bytesImage(elf);
    });
    assert.ok(plain && pvh);
    assert.throws(
      () => parseElf(plain),
      tsvmError('invalid-kernel', /e_entry: physical address 0x\w+ is in no/),
    );
    assert.equal(parseElf(pvh).entry, undefined);
  }
});

test('a large program of another linker is read as readelf reads it', (t) => {
  // Go's, and statically linked.
  const esbuild = join(packageRoot(), 'node_modules/@esbuild/linux-x64/bin/esbuild');
  assert.deepEqual(parseFile(t, esbuild), readelf(esbuild));
});

const PHDR = { type: 0, offset: 8, paddr: 24, filesz: 32, memsz: 40 };
const phdr = (index: number, field: number) => 64 + index * 56 + field;

const LIES: readonly (readonly [string, (elf: Buffer) => void, RegExp])[] = [
  ['another magic', (elf) => elf.writeUInt8(0, 0), /EI_MAG: \d+ instead of/],
  ['no class', (elf) => elf.writeUInt8(3, EHDR.class), /EI_CLASS: 3 is neither 1/],
  ['a 32-bit class', (elf) => elf.writeUInt8(1, EHDR.class), /e_machine: 62 instead of 3/],
  ['a big-endian file', (elf) => elf.writeUInt8(2, EHDR.data), /EI_DATA: 2 instead of 1,/],
  [
    'an object file',
    (elf) => elf.writeUInt16LE(1, EHDR.type),
    /e_type: 1 instead of .* an object file/,
  ],
  [
    'another machine',
    (elf) => elf.writeUInt16LE(183, EHDR.machine),
    /e_machine: 183 instead of 62, .*: it is for AArch64/,
  ],
  [
    'a program for Linux',
    (elf) => elf.writeUInt32LE(3, phdr(2, PHDR.type)),
    /PT_INTERP: it is a program/,
  ],
  [
    'a far table',
    (elf) => elf.writeBigUInt64LE(1n << 40n, EHDR.phoff),
    /e_phoff: 168 bytes at offset 1099511627776/,
  ],
  [
    'a wrapping table',
    (elf) => elf.writeBigUInt64LE(2n ** 64n - 8n, EHDR.phoff),
    /e_phoff: 0xfffffffffffffff8/,
  ],
  ['32-bit entries', (elf) => elf.writeUInt16LE(32, EHDR.phentsize), /e_phentsize: 32 .* 56/],
  ['65535 headers', (elf) => elf.writeUInt16LE(0xffff, EHDR.phnum), /e_phnum: 65535 .* 128/],
  ['no segment', (elf) => elf.writeUInt16LE(0, EHDR.phnum), /e_phnum: there is no PT_LOAD/],
  [
    'a segment beyond the file',
    (elf) => elf.writeBigUInt64LE(BigInt(elf.length), phdr(1, PHDR.offset)),
    /program header 1, p_offset \+ p_filesz: \d+ bytes at offset \d+ .* \d+ bytes/,
  ],
  [
    'a segment that wraps in the file',
    (elf) => elf.writeBigUInt64LE(2n ** 64n - 0x1000n, phdr(0, PHDR.offset)),
    /program header 0, p_offset: 0xfffffffffffff000 is out of range/,
  ],
  [
    'more in the file than in memory',
    (elf) => elf.writeBigUInt64LE(7n, phdr(1, PHDR.memsz)),
    /program header 1, p_filesz: \d+ is above p_memsz, 7/,
  ],
  [
    'a segment that wraps in memory',
    (elf) => elf.writeBigUInt64LE(2n ** 53n - 0x1000n, phdr(1, PHDR.paddr)),
    /program header 1, p_paddr \+ p_memsz: \d+ \+ \d+ is out of range/,
  ],
  [
    'a note segment beyond the file',
    (elf) => elf.writeBigUInt64LE(BigInt(elf.length), phdr(2, PHDR.offset)),
    /note segment in program header 2, p_offset \+ p_filesz/,
  ],
  [
    'a note segment of a terabyte',
    (elf) => elf.writeBigUInt64LE(2n ** 40n, phdr(2, PHDR.filesz)),
    /note segment in program header 2, p_filesz: 1099511627776/,
  ],
  [
    'a note longer than its segment',
    (elf) => elf.writeUInt32LE(0xffffffff, noteAt(elf) + 4),
    /n_namesz \+ n_descsz/,
  ],
  [
    'a note name longer than its segment',
    (elf) => elf.writeUInt32LE(0xfffffff0, noteAt(elf)),
    /n_namesz \+ n_descsz/,
  ],
  [
    'a PVH note of 2 bytes',
    (elf) => elf.writeUInt32LE(2, noteAt(elf) + 24),
    /PHYS32_ENTRY: n_descsz is 2/,
  ],
  [
    'a PVH entry outside',
    (elf) => elf.writeUInt32LE(0x500, noteAt(elf) + 36),
    /PHYS32_ENTRY: physical address 0x500 is in no/,
  ],
];

function noteAt(elf: Buffer): number {
  return Number(elf.readBigUInt64LE(phdr(2, PHDR.offset)));
}

test('an error names the invalid field', async (t) => {
  const { bytes } = buildElf(temporaryDirectory(t), 4);
  assert.doesNotThrow(() => parseElf(bytesImage(bytes)));
  for (const [what, lie, message] of LIES) {
    await t.test(what, () => {
      const elf = Buffer.from(bytes);
      lie(elf);
      assert.throws(
        () => parseElf(bytesImage(elf, 'vmlinux')),
        tsvmError('invalid-kernel', message),
      );
    });
  }
});

test('a file cut anywhere in its headers or segments is refused', (t) => {
  const { bytes } = buildElf(temporaryDirectory(t), 4);
  const { segments } = parseElf(bytesImage(bytes));
  const needed = Math.max(...segments.map((s) => s.fileOffset + s.fileSizeBytes));
  const lengths = [...Array.from({ length: 64 + 3 * 56 }, (_, i) => i), needed - 1, needed >> 1];
  for (const length of lengths) {
    assert.throws(
      () => parseElf(bytesImage(bytes.subarray(0, length))),
      tsvmError('invalid-kernel', /bytes at offset/),
      `${length} bytes`,
    );
  }
  assert.doesNotThrow(() => parseElf(bytesImage(bytes.subarray(0, needed))));
});

test('no change of header bytes makes anything but a TsvmError', (t) => {
  const { bytes } = buildElf(temporaryDirectory(t), 4);
  const random = seededRandom(1);
  let refused = 0;
  for (let round = 0; round < 5000; round++) {
    const elf = Buffer.from(bytes);
    for (let i = 0; i < 3; i++) elf[random(64 + 3 * 56)] = random(256);
    elf[noteAt(bytes) + random(40)] = random(256);
    try {
      for (const { fileOffset, fileSizeBytes, memSizeBytes } of parseElf(bytesImage(elf))
        .segments) {
        assert.ok(fileOffset + fileSizeBytes <= elf.length && fileSizeBytes <= memSizeBytes);
      }
    } catch (error) {
      assert.ok(error instanceof TsvmError, String(error));
      refused++;
    }
  }
  assert.ok(refused > 1000);
});
