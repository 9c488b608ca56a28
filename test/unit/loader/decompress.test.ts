import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BootFile } from '../../../vmm/loader/boot-file.ts';
import type { CompressionFormat } from '../../../vmm/loader/bzimage.ts';
import { decompress, OutputError } from '../../../vmm/loader/decompress.ts';
import {
  FORMATS,
  packPayload,
  sampleBytes,
  temporaryDirectory,
  tsvmError,
} from './kernel-fixtures.ts';

const KERNEL = sampleBytes(700_000);
/** Formats whose data carries no checksum, so that damage may pass for data. */
const UNCHECKED: readonly CompressionFormat[] = ['lzma', 'lz4'];
/** The kernel as the loader hands it on: without the size that the build appends. */
const PACKED = Object.fromEntries(
  FORMATS.map((format) => {
    const payload = packPayload(format, KERNEL);
    return [format, format === 'gzip' ? payload : payload.subarray(0, -4)];
  }),
) as Record<CompressionFormat, Buffer>;
/** Bytes before and after the payload, as a bzImage has them. */
const MARGIN = 1000;

interface Attempt {
  readonly done: Promise<void>;
  readonly output: () => Buffer;
}

/** Unpacks `packed`, which lies in the middle of a file, into a new file. */
function unpack(
  t: TestContext,
  format: CompressionFormat,
  packed: Uint8Array,
  unpackedSizeBytes: number,
): Attempt {
  const directory = temporaryDirectory(t);
  const [input, output] = [join(directory, 'input'), join(directory, 'output')];
  writeFileSync(input, Buffer.concat([Buffer.alloc(MARGIN, 1), packed, Buffer.alloc(MARGIN, 2)]));
  const image = new BootFile(input, 'bzImage');
  const outputFd = openSync(output, 'w');
  t.after(() => {
    image.close();
    closeSync(outputFd);
  });
  const range = { format, image, fileOffset: MARGIN, unpackedSizeBytes };
  return {
    done: decompress({ ...range, sizeBytes: packed.byteLength }, outputFd),
    output: () => readFileSync(output),
  };
}

/** Zeroes, packed quickly. */
function packedZeroes(format: CompressionFormat, mebibytes: number): Buffer {
  const command = {
    gzip: 'gzip -1',
    xz: 'xz -0 --check=crc32',
    lzma: 'lzma -0',
    bzip2: 'bzip2 -9',
    lzo: 'lzop -1',
    lz4: 'lz4 -l -1 - -',
    zstd: 'zstd -1',
  }[format];
  const script = `head -c ${mebibytes}M /dev/zero | ${command}`;
  return execFileSync('sh', ['-c', script], {
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

for (const format of FORMATS) {
  test(`${format}: a payload compressed as in the kernel's build is unpacked`, async (t) => {
    const { done, output } = unpack(t, format, PACKED[format], KERNEL.length);
    await done;
    assert.ok(output().equals(KERNEL));
  });

  test(`${format}: a decompression bomb is stopped at the stated size`, async (t) => {
    const told = 2 ** 20;
    const { done, output } = unpack(t, format, packedZeroes(format, 64), told);
    const message = new RegExp(
      `bzImage: ${format} payload: it unpacks to more than the ${told} bytes`,
    );
    await assert.rejects(done, tsvmError('invalid-kernel', message));
    assert.ok(output().length <= told);
  });

  test(`${format}: a shorter output is an error`, async (t) => {
    const { done } = unpack(t, format, PACKED[format], KERNEL.length + 1);
    const message = new RegExp(`${format} payload: it unpacks to 700000 bytes, not 700001`);
    await assert.rejects(done, tsvmError('invalid-kernel', message));
  });

  test(`${format}: a payload that is cut is an error`, async (t) => {
    const bytes = PACKED[format];
    for (const length of [bytes.length - 1, bytes.length >> 1, 12]) {
      const { done } = unpack(t, format, bytes.subarray(0, length), KERNEL.length);
      await assert.rejects(done, tsvmError('invalid-kernel', new RegExp(`${format} payload: `)));
    }
  });

  test(`${format}: damaged data is an error`, async (t) => {
    if (UNCHECKED.includes(format)) {
      t.skip(`${format} as the kernel's build makes it has no checksum`);
      return;
    }
    const bytes = Buffer.from(PACKED[format]);
    bytes.fill(0x55, bytes.length >> 1, (bytes.length >> 1) + 8);
    const { done } = unpack(t, format, bytes, KERNEL.length);
    await assert.rejects(done, tsvmError('invalid-kernel', new RegExp(`${format} payload: `)));
  });

  test(`${format}: a full disk is distinguished from a damaged kernel`, async (t) => {
    const directory = temporaryDirectory(t);
    const bytes = PACKED[format];
    writeFileSync(join(directory, 'input'), bytes);
    const image = new BootFile(join(directory, 'input'));
    const full = openSync('/dev/full', 'w');
    try {
      const range = { format, image, fileOffset: 0, sizeBytes: bytes.length };
      await assert.rejects(
        decompress({ ...range, unpackedSizeBytes: KERNEL.length }, full),
        (error) => error instanceof OutputError && /ENOSPC/.test(error.message),
      );
      assert.ok(fstatSync(image.fd).isFile(), 'the input stays open');
    } finally {
      image.close();
      closeSync(full);
    }
  });
}

const PACKAGES = {
  xz: 'xz-utils',
  lzma: 'xz-utils',
  bzip2: 'bzip2',
  lzo: 'lzop',
  lz4: 'lz4',
} as const;

for (const [format, debianPackage] of Object.entries(PACKAGES)) {
  test(`${format}: a missing tool names its package`, async (t) => {
    const bytes = PACKED[format as CompressionFormat];
    const path = process.env['PATH'];
    t.after(() => {
      process.env['PATH'] = path;
    });
    process.env['PATH'] = temporaryDirectory(t);
    const { done } = unpack(t, format as CompressionFormat, bytes, KERNEL.length);
    const message = new RegExp(`${format} format.* install the package ${debianPackage}$`);
    await assert.rejects(done, tsvmError('cannot-decompress', message));
  });
}

test('options in the environment do not reach the tools', async (t) => {
  t.after(() => {
    delete process.env['XZ_OPT'];
  });
  process.env['XZ_OPT'] = '--memlimit-decompress=1KiB';
  const { done, output } = unpack(t, 'xz', PACKED.xz, KERNEL.length);
  await done;
  assert.equal(output().length, KERNEL.length);
});

test('an xz payload that asks for gigabytes of memory is refused', async (t) => {
  const bytes = execFileSync('xz', ['--check=crc32', '--lzma2=preset=0,dict=1536MiB'], {
    input: sampleBytes(1000),
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const { done } = unpack(t, 'xz', bytes, 1000);
  await assert.rejects(done, tsvmError('invalid-kernel', /[Mm]emory/));
});
