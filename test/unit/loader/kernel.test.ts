import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cacheFolder } from '../../../vmm/host/folders.ts';
import { type LoadedKernel, loadKernel } from '../../../vmm/loader/kernel.ts';
import { type FileMapper, type LoadSpace, placePieces } from '../../../vmm/loader/placement.ts';
import { GuestMemory } from '../../../vmm/memory/guest-memory.ts';
import {
  buildBzImage,
  buildElf,
  CODE_OFFSET,
  FORMATS,
  type KernelFile,
  packPayload,
  temporaryDirectory,
  tsvmError,
} from './kernel-fixtures.ts';

const MIB = 2 ** 20;
const SPACE: LoadSpace = { startGpa: MIB, endGpa: 64 * MIB, endGpaMax: 3072 * MIB };

async function load(t: TestContext, path: string, space = SPACE): Promise<LoadedKernel> {
  const kernel = await loadKernel({
    from: path,
    space,
    cacheDirectory: join(temporaryDirectory(t), 'k'),
  });
  t.after(() => kernel.image.close());
  return kernel;
}

/** Places a kernel in memory that maps files by reading them. */
function place(kernel: LoadedKernel): { memory: GuestMemory; mappedBytes: number } {
  const bytes = new Uint8Array(SPACE.endGpa);
  const memory = new GuestMemory([{ gpa: 0, sizeBytes: bytes.byteLength, bytes }]);
  let mappedBytes = 0;
  const mapper: FileMapper = {
    mapFile(gpa, lengthBytes, fd, fileOffset) {
      assert.equal((gpa | lengthBytes | fileOffset) % 4096, 0);
      mappedBytes += lengthBytes;
      assert.equal(readSync(fd, bytes, gpa, lengthBytes, fileOffset), lengthBytes);
    },
  };
  placePieces(kernel.pieces, kernel.image, memory, mapper);
  return { memory, mappedBytes };
}

/** The memory that an ELF file describes, from its lowest physical address on. */
function flatImage({ path }: KernelFile): Buffer {
  execFileSync('objcopy', ['-O', 'binary', path, `${path}.flat`]);
  return readFileSync(`${path}.flat`);
}

/** Placed as expected, and mapped when it is from the cache, else copied. */
function assertPlaced(kernel: LoadedKernel, expected: Buffer, from: 'cache' | 'user'): void {
  const { memory, mappedBytes } = place(kernel);
  assert.ok(Buffer.from(memory.slice(0x1000000, expected.length)).equals(expected));
  assert.ok(memory.slice(0, 0x1000000).every((byte) => byte === 0));
  assert.ok(memory.slice(0x1000000 + expected.length, 0x100000).every((byte) => byte === 0));
  if (from === 'cache') assert.ok(mappedBytes > 250_000, 'most of it is mapped');
  else assert.equal(mappedBytes, 0, 'the user may change the file');
}

for (const format of FORMATS) {
  test(`a bzImage packed by ${format} is entered as ELF at its 64-bit entry`, async (t) => {
    const directory = temporaryDirectory(t);
    const elf = buildElf(directory, 8);
    const path = join(directory, 'bzImage');
    const bzImage = buildBzImage(packPayload(format, elf.bytes));
    writeFileSync(path, bzImage);

    const kernel = await load(t, path);
    assert.deepEqual(kernel.entry, {
      protocol: 'linux64',
      rip: 0x1000000,
      setupHeader: Uint8Array.from(bzImage.subarray(0x1f1, 0x26c)),
    });
    assert.deepEqual(kernel.warnings, []);
    assert.equal(kernel.commandLineMaxBytes, 2047);
    assert.equal(kernel.initrdAddressMax, 0x7fffffff);
    assert.equal(kernel.kernelStartGpa, 0x1000000);
    assertPlaced(kernel, flatImage(elf), 'cache');
  });
}

test('an uncompressed ELF kernel inside a bzImage is loaded directly', async (t) => {
  const directory = temporaryDirectory(t);
  const elf = buildElf(directory);
  writeFileSync(join(directory, 'bzImage'), buildBzImage(elf.bytes));
  const kernel = await load(t, join(directory, 'bzImage'));
  assert.equal(kernel.entry.rip, 0x1000000);
  assertPlaced(kernel, flatImage(elf), 'user');
});

test('an ELF kernel with a PVH note is entered there, one without at its 64-bit entry', async (t) => {
  const directory = temporaryDirectory(t);
  const pvh = buildElf(directory, 4);
  const kernel = await load(t, pvh.path);
  assert.deepEqual(kernel.entry, { protocol: 'pvh', rip: 0x1000010, is32Bit: false });
  assertPlaced(kernel, flatImage(pvh), 'user');
  const plain = buildElf(directory);
  const other = await load(t, plain.path);
  assert.deepEqual(other.entry, { protocol: 'linux64', rip: 0x1000000 });
  assert.equal(other.commandLineMaxBytes, 2047);
  assertPlaced(other, flatImage(plain), 'user');
});

for (const [name, command] of Object.entries({
  gz: ['gzip', '-c'],
  xz: ['xz', '-c'],
  lzma: ['xz', '-c', '--format=lzma'],
  bz2: ['bzip2', '-c'],
  lzo: ['lzop', '-c'],
  lz4: ['lz4', '-c'],
  'lz4 (legacy)': ['lz4', '-l', '-c'],
  zst: ['zstd', '-c'],
})) {
  test(`vmlinux.${name}: an ELF kernel that is compressed as a whole is unpacked`, async (t) => {
    const directory = temporaryDirectory(t);
    const elf = buildElf(directory, 4);
    const path = join(directory, 'vmlinux.packed');
    const [program = '', ...args] = command;
    writeFileSync(path, execFileSync(program, args, { input: elf.bytes, maxBuffer: 64 * MIB }));
    const kernel = await load(t, path);
    assert.deepEqual(kernel.entry, { protocol: 'pvh', rip: 0x1000010, is32Bit: false });
    assert.deepEqual(kernel.warnings, []);
    assertPlaced(kernel, flatImage(elf), 'cache');
  });
}

test('a compressed file that is no kernel is named, and so is a damaged one', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'initrd.gz');
  writeFileSync(path, execFileSync('gzip', ['-c'], { input: '070701'.padEnd(600, '0') }));
  await assert.rejects(
    load(t, path),
    tsvmError('invalid-kernel', /initrd\.gz \(unpacked\) .*cpio archive.*pass it with --initrd/),
  );
  writeFileSync(path, readFileSync(path).subarray(0, 20));
  await assert.rejects(load(t, path), tsvmError('invalid-kernel', /gzip payload/));
});

test('a kernel ends after its bss', async (t) => {
  const { path } = buildElf(temporaryDirectory(t));
  const { kernelEndGpa } = await load(t, path);
  const sections = execFileSync('readelf', ['-SW', path], { encoding: 'utf8' });
  const [, address, size] = /\.bss +NOBITS +(\w+) \w+ (\w+)/.exec(sections) ?? [];
  const bssEnd = BigInt(`0x${address}`) + BigInt(`0x${size}`);
  assert.equal(BigInt(kernelEndGpa), bssEnd - 0xffffffff80000000n);
});

test('a kernel that the host cannot unpack unpacks itself, with a warning', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'bzImage');
  const bzImage = buildBzImage(packPayload('lz4', buildElf(directory).bytes));
  writeFileSync(path, bzImage);
  const searchPath = process.env['PATH'];
  t.after(() => {
    process.env['PATH'] = searchPath;
  });
  process.env['PATH'] = '/nonexistent';

  const kernel = await load(t, path);
  assert.equal(kernel.entry.protocol, 'linux64');
  assert.equal(kernel.entry.rip, 0x1000200);
  assert.ok(kernel.entry.protocol === 'linux64' && kernel.entry.codeGpa === 0x1000000);
  assert.equal(kernel.kernelEndGpa, 0x1000000 + 0x1050000);
  assert.equal(kernel.warnings.length, 1);
  assert.match(`${kernel.warnings[0]}`, /install the package lz4; .* unpacks itself/);
  const { memory, mappedBytes } = place(kernel);
  assert.equal(mappedBytes, 0);
  const code = bzImage.subarray(CODE_OFFSET);
  assert.ok(Buffer.from(memory.slice(0x1000000, code.length)).equals(code));

  bzImage.writeUInt16LE(0, 0x236);
  writeFileSync(path, bzImage);
  const by32BitEntry = await load(t, path);
  const { setupHeader, ...entry } = by32BitEntry.entry as { setupHeader: Uint8Array };
  assert.ok(setupHeader.length > 0);
  assert.deepEqual(entry, {
    protocol: 'linux32',
    rip: 0x1000000,
    codeGpa: 0x1000000,
    is32BitOnly: true,
  });
});

test('a damaged payload is an error, even where the image could unpack itself', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'bzImage');
  const bzImage = buildBzImage(packPayload('gzip', buildElf(directory).bytes));
  bzImage.fill(0, bzImage.length >> 1, (bzImage.length >> 1) + 100);
  writeFileSync(path, bzImage);
  await assert.rejects(load(t, path), tsvmError('invalid-kernel', /gzip payload/));
});

test('a kernel in too little memory is an error about memory', async (t) => {
  const { path } = buildElf(temporaryDirectory(t));
  const space = { ...SPACE, endGpa: 16 * MIB };
  await assert.rejects(load(t, path, space), tsvmError('invalid-config', /more than 19 MiB/));
});

test('a file that is not a kernel is refused', async (t) => {
  const directory = temporaryDirectory(t);
  const write = (name: string, bytes: Uint8Array | string) => {
    writeFileSync(join(directory, name), bytes);
    return join(directory, name);
  };
  const neither = tsvmError('invalid-kernel', /neither a bzImage nor an ELF file: use/);
  await assert.rejects(load(t, write('empty', '')), tsvmError('invalid-kernel', /is empty/));
  await assert.rejects(load(t, write('text', 'no kernel\n'.repeat(100))), neither);
  const { bytes: elf32 } = buildElf(directory, undefined, 32);
  await assert.rejects(
    load(t, write('elf32', elf32)),
    tsvmError('invalid-kernel', /32-bit file without a PVH note/),
  );
  mkdirSync(join(directory, 'folder'));
  await assert.rejects(
    load(t, join(directory, 'folder')),
    tsvmError('file-unreadable', /not a regular file/),
  );
  execFileSync('mkfifo', [join(directory, 'fifo')]);
  await assert.rejects(
    load(t, join(directory, 'fifo')),
    tsvmError('file-unreadable', /not a regular file/),
  );
  await assert.rejects(load(t, join(directory, 'none')), tsvmError('file-unreadable', /ENOENT/));
});

test('no descriptor stays open but the one that is handed over', async (t) => {
  const directory = temporaryDirectory(t);
  const openFiles = () => readdirSync('/proc/self/fd').length;
  const path = join(directory, 'bzImage');
  writeFileSync(path, buildBzImage(packPayload('gzip', buildElf(directory).bytes)));
  const space = { ...SPACE, endGpa: 16 * MIB };
  await assert.rejects(load(t, path, space));
  const before = openFiles();
  for (let i = 0; i < 5; i++) await assert.rejects(load(t, path, space));
  assert.equal(openFiles(), before);
  await load(t, path);
  assert.equal(openFiles(), before + 1);
});

/** Real kernels: this machine's, and what the default guest's build left in the user's cache. */
function installedKernels(): string[] {
  const cache = cacheFolder();
  return ['/boot', ...(cache === undefined ? [] : [cache])]
    .filter((directory) => existsSync(directory))
    .flatMap((directory) =>
      readdirSync(directory, { recursive: true, encoding: 'utf8' })
        // Not what a build is just working on.
        .filter((name) => !name.includes('.building-'))
        .filter((name) => /(^|\/)(vmlinuz|bzImage|vmlinux)[^/]*$/.test(name))
        .map((name) => join(directory, name)),
    );
}

test('real kernels load', async (t) => {
  const paths = installedKernels();
  if (paths.length === 0) {
    t.skip('no vmlinuz, bzImage or vmlinux in /boot or in the cache');
    return;
  }
  for (const path of paths) {
    await t.test(path, async (t) => {
      const kernel = await load(t, path, { ...SPACE, endGpa: 1024 * MIB });
      const parts = kernel.pieces.filter((piece) => piece.kind !== 'zero');
      assert.ok(parts.reduce((sum, piece) => sum + piece.lengthBytes, 0) > 4 * MIB);
      assert.equal(kernel.kernelStartGpa, 0x1000000);
      assert.deepEqual(kernel.warnings, []);
    });
  }
});
