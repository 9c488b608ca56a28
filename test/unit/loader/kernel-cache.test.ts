import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { BootBytes, BootFile, type BootImage } from '../../../vmm/loader/boot-file.ts';
import { parseBzImage } from '../../../vmm/loader/bzimage.ts';
import {
  type CompressedPayload,
  KERNELS_MAX,
  openUnpackedKernel,
} from '../../../vmm/loader/kernel-cache.ts';
import {
  buildBzImage,
  buildElf,
  packPayload,
  sampleBytes,
  temporaryDirectory,
  tsvmError,
} from './kernel-fixtures.ts';

let elf: Buffer;
let packed: Buffer;
before(() => {
  const directory = mkdtempSync(join(tmpdir(), 'tsvm-loader-test-'));
  elf = buildElf(directory).bytes;
  packed = buildBzImage(packPayload('xz', elf));
  rmSync(directory, { recursive: true });
});

/** A bzImage on disk, and an empty cache. */
function setUp(t: TestContext) {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'bzImage');
  writeFileSync(path, packed);
  return { directory, path, cache: join(directory, 'home', 'tsvm', 'kernels') };
}

function open(path: string, cache: string) {
  return openImage(new BootFile(path), cache);
}

async function openImage(bzImage: BootImage, cache: string) {
  try {
    const payload = parseBzImage(bzImage).payload as CompressedPayload;
    const {
      image,
      elf: parsed,
      warning,
    } = await openUnpackedKernel(bzImage, payload, {
      cacheDirectory: cache,
    });
    const bytes = Buffer.alloc(image.sizeBytes);
    image.readInto(bytes, 0);
    image.close();
    return { bytes, parsed, warning };
  } finally {
    bzImage.close();
  }
}

/** Nothing can be unpacked while a test runs, so that what comes out was in the cache. */
function withoutTools(t: TestContext): void {
  const path = process.env['PATH'];
  t.after(() => {
    process.env['PATH'] = path;
  });
  process.env['PATH'] = '/nonexistent';
}

function entries(cache: string): string[] {
  return readdirSync(cache).filter((name) => name !== 'by-file');
}

function onlyEntry(cache: string): string {
  const [name, ...others] = entries(cache);
  assert.ok(name !== undefined && others.length === 0, `entries: ${name} ${others}`);
  return join(cache, name);
}

test('a kernel is unpacked once and then found by its file alone', async (t) => {
  const { path, cache } = setUp(t);
  const first = await open(path, cache);
  assert.ok(first.bytes.equals(elf));
  assert.equal(first.warning, undefined);
  assert.ok(readFileSync(onlyEntry(cache)).equals(elf));
  withoutTools(t);
  const again = await open(path, cache);
  assert.ok(again.bytes.equals(elf));
  assert.deepEqual(again.parsed, first.parsed);
});

test('a kernel in memory is found by its content, and leaves no link', async (t) => {
  const { cache } = setUp(t);
  const image = () => new BootBytes('disk.img, partition 1: /vmlinuz', packed);
  assert.ok((await openImage(image(), cache)).bytes.equals(elf));
  withoutTools(t);
  assert.ok((await openImage(image(), cache)).bytes.equals(elf));
  assert.deepEqual(readdirSync(join(cache, 'by-file')), []);
});

test('a copy of a kernel is found by its content', async (t) => {
  const { directory, path, cache } = setUp(t);
  await open(path, cache);
  const copy = join(directory, 'copy');
  copyFileSync(path, copy);
  withoutTools(t);
  assert.ok((await open(copy, cache)).bytes.equals(elf));
  assert.equal(readdirSync(join(cache, 'by-file')).length, 2);
});

test('a changed kernel file is not taken for its old version', async (t) => {
  const { path, cache } = setUp(t);
  await open(path, cache);
  const { atime, mtime } = statSync(path);
  const other = Buffer.from(readFileSync(path));
  other.writeUInt32LE(0x01050000 + 4096, 0x260);
  writeFileSync(path, other);
  utimesSync(path, atime, mtime);
  await open(path, cache);
  assert.equal(entries(cache).length, 2);
});

test('only the user may read the cache', async (t) => {
  const { path, cache } = setUp(t);
  await open(path, cache);
  assert.equal(lstatSync(onlyEntry(cache)).mode & 0o777, 0o600);
  for (const directory of [cache, join(cache, 'by-file'), join(cache, '..')]) {
    assert.equal(lstatSync(directory).mode & 0o777, 0o700);
  }
});

const DAMAGE: readonly (readonly [string, (entry: string) => void])[] = [
  ['cut by a byte', (entry) => truncateSync(entry, statSync(entry).size - 1)],
  ['cut', (entry) => truncateSync(entry, 1000)],
  ['emptied', (entry) => truncateSync(entry, 0)],
  ['zeroed', (entry) => writeFileSync(entry, Buffer.alloc(statSync(entry).size))],
];
for (const [what, damage] of DAMAGE) {
  test(`an entry that was ${what} is made anew`, async (t) => {
    const { path, cache } = setUp(t);
    await open(path, cache);
    damage(onlyEntry(cache));
    const { bytes, warning } = await open(path, cache);
    assert.ok(bytes.equals(elf));
    assert.equal(warning, undefined);
    assert.ok(readFileSync(onlyEntry(cache)).equals(elf));
  });
}

test('a cache that cannot be created is only a warning', async (t) => {
  const { directory, path } = setUp(t);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  const temporary = temporaryDirectory(t);
  const usual = process.env['TMPDIR'];
  t.after(() => {
    if (usual === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = usual;
  });
  process.env['TMPDIR'] = temporary;
  const { bytes, warning } = await open(path, join(file, 'kernels'));
  assert.ok(bytes.equals(elf));
  assert.match(warning ?? '', /kernel cache .*file\/kernels cannot be written: ENOTDIR/);
  assert.deepEqual(readdirSync(temporary), [], 'the unpacked file has no name');
});

test('an entry that cannot be linked is used all the same, with a warning', async (t) => {
  const { directory, path, cache } = setUp(t);
  await open(path, cache);
  const copy = join(directory, 'copy');
  copyFileSync(path, copy);
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(copy, { bigint: true });
  mkdirSync(join(cache, 'by-file', `${dev}-${ino}-${size}-${mtimeNs}-${ctimeNs}`));
  withoutTools(t);
  const { bytes, warning } = await open(copy, cache);
  assert.ok(bytes.equals(elf));
  assert.match(warning ?? '', /cannot be written: EISDIR/);
});

test('a payload that is not a kernel leaves nothing in the cache', async (t) => {
  const { path, cache } = setUp(t);
  writeFileSync(path, buildBzImage(packPayload('xz', sampleBytes(5000))));
  await assert.rejects(
    open(path, cache),
    tsvmError('invalid-kernel', /\(unpacked\) is neither a bzImage nor an ELF file/),
  );
  assert.deepEqual(entries(cache), []);
});

test('the oldest entries, dead links and abandoned files make room', async (t) => {
  const { path, cache } = setUp(t);
  mkdirSync(join(cache, 'by-file'), { recursive: true });
  const old = (name: string, ageSeconds: number) => {
    writeFileSync(join(cache, name), 'old');
    const time = Date.now() / 1000 - ageSeconds;
    utimesSync(join(cache, name), time, time);
  };
  for (let i = 0; i < KERNELS_MAX + 3; i++) old(`${i}.elf`, 100 + i);
  // No process has this number: pid_max is at most 2^22.
  const draft = (id: string) => `.tsvm-4194305-1-${id}.partial`;
  old(draft('0000000a'), 7200);
  old(draft('0000000b'), 60);
  await open(path, cache);

  const left = entries(cache);
  assert.equal(left.filter((name) => name.endsWith('.elf')).length, KERNELS_MAX);
  assert.ok(!left.includes(`${KERNELS_MAX - 1}.elf`) && left.includes(`${KERNELS_MAX - 2}.elf`));
  assert.ok(!left.includes(draft('0000000a')) && left.includes(draft('0000000b')));
  const [link] = readdirSync(join(cache, 'by-file'));
  assert.ok(readFileSync(join(cache, 'by-file', `${link}`)).equals(elf));
});

test('processes that unpack the same kernel at once do not meet', async (t) => {
  const { path, cache } = setUp(t);
  const kernels = await Promise.all([open(path, cache), open(path, cache), open(path, cache)]);
  for (const { bytes, warning } of kernels) {
    assert.ok(bytes.equals(elf));
    assert.equal(warning, undefined);
  }
  assert.ok(existsSync(onlyEntry(cache)));
});
