/** New images, as qemu-img sees them. */
import assert from 'node:assert/strict';
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createHostFile } from '../../../../../../../vmm/backends/disk/file/host-file.ts';
import { createQcow2 } from '../../../../../../../vmm/backends/disk/image/qcow2/create/create.ts';
import type {
  CreateOptions,
  Preallocation,
} from '../../../../../../../vmm/backends/disk/image/qcow2/create/create-options.ts';
import { createPreallocated } from '../../../../../../../vmm/backends/disk/image/qcow2/create/preallocate.ts';
import { hostFiles } from '../../../../../../../vmm/host/host-files.ts';
import { temporaryFolder } from '../../../../../../support/disk-fixtures.ts';
import { MemoryImageFile } from '../../../../../../support/memory-image-file.ts';
import { qemuCheck, qemuImgOutput } from '../../../../../../support/qemu-img.ts';

const MIB = 2 ** 20;
const folder = temporaryFolder();
after(() => folder.remove());
const path = join(folder.path, 'new.qcow2');
const dataPath = join(folder.path, 'data.raw');
writeFileSync(join(folder.path, 'base.img'), new Uint8Array(4096));

type Options = Omit<CreateOptions, 'dataFile'> & { dataFile?: { raw: boolean } };

async function create({ dataFile, ...rest }: Options, preallocation: Preallocation): Promise<void> {
  rmSync(path, { force: true });
  rmSync(dataPath, { force: true });
  const file = createHostFile(path, hostFiles());
  const external = dataFile === undefined ? undefined : createHostFile(dataPath, hostFiles());
  const options: CreateOptions =
    external === undefined || dataFile === undefined
      ? rest
      : { ...rest, dataFile: { file: external, name: dataPath, raw: dataFile.raw } };
  try {
    await createPreallocated(file, options, preallocation);
  } finally {
    file.close();
    external?.close();
  }
}

interface QemuInfo {
  readonly 'virtual-size': number;
  readonly 'cluster-size': number;
  readonly 'backing-filename'?: string;
  readonly 'backing-filename-format'?: string;
  readonly 'format-specific': { readonly data: Readonly<Record<string, unknown>> };
}

async function qemuInfo(): Promise<QemuInfo> {
  return JSON.parse(await qemuImgOutput('info', '--output=json', path)) as QemuInfo;
}

const CASES: readonly Options[] = [
  { sizeBytes: 1024 * MIB },
  { sizeBytes: 0 },
  { sizeBytes: 512 },
  { sizeBytes: 1024 * MIB, version: 2 },
  { sizeBytes: 2 ** 37, clusterBytes: 512, refcountBits: 64 },
  { sizeBytes: 2 ** 30, clusterBytes: 512, refcountBits: 1 },
  { sizeBytes: 2 ** 52, clusterBytes: 2 ** 21, refcountBits: 2 },
  { sizeBytes: 64 * MIB, clusterBytes: 4096, refcountBits: 4 },
  { sizeBytes: 64 * MIB, refcountBits: 8, lazyRefcounts: true },
  { sizeBytes: 64 * MIB, refcountBits: 32, compressionType: 'zstd' },
  { sizeBytes: 64 * MIB, extendedL2: true, clusterBytes: 16_384 },
  { sizeBytes: 64 * MIB, backing: { name: 'base.img', format: 'raw' } },
  { sizeBytes: 64 * MIB, clusterBytes: 512, backing: { name: 'base.img', format: 'raw' } },
  { sizeBytes: 64 * MIB, version: 2, backing: { name: 'base.img', format: 'raw' } },
  { sizeBytes: 64 * MIB, dataFile: { raw: false } },
  { sizeBytes: 64 * MIB, dataFile: { raw: true } },
];

for (const options of CASES) {
  test(`${JSON.stringify(options)}: valid, and as requested`, async () => {
    await create(options, 'off');
    const check = await qemuCheck(path);
    assert.deepEqual([check.corruptions, check.leaks, check.checkErrors], [0, 0, 0], check.text);
    const info = await qemuInfo();
    const { data } = info['format-specific'];
    const version3 = options.version !== 2;
    assert.equal(info['virtual-size'], options.sizeBytes);
    assert.equal(info['cluster-size'], options.clusterBytes ?? 65_536);
    assert.equal(data['compat'], version3 ? '1.1' : '0.10');
    assert.equal(data['refcount-bits'], options.refcountBits ?? 16);
    assert.equal(data['lazy-refcounts'], version3 ? (options.lazyRefcounts ?? false) : undefined);
    assert.equal(data['extended-l2'], version3 ? (options.extendedL2 ?? false) : undefined);
    assert.equal(data['compression-type'], options.compressionType ?? 'zlib');
    assert.equal(info['backing-filename'], options.backing?.name);
    assert.equal(info['backing-filename-format'], options.backing?.format);
    assert.equal(data['data-file'], options.dataFile === undefined ? undefined : dataPath);
    assert.equal(data['data-file-raw'], options.dataFile?.raw);
  });
}

const PREALLOCATED: readonly Options[] = [
  { sizeBytes: 20 * MIB },
  { sizeBytes: 5 * MIB + 512, clusterBytes: 4096, refcountBits: 1, lazyRefcounts: true },
  { sizeBytes: 5 * MIB, clusterBytes: 512, version: 2 },
  { sizeBytes: 5 * MIB, extendedL2: true },
  { sizeBytes: 5 * MIB, dataFile: { raw: false } },
  { sizeBytes: 5 * MIB, dataFile: { raw: true } },
];

for (const options of PREALLOCATED) {
  for (const preallocation of ['metadata', 'falloc', 'full'] as const) {
    test(`${JSON.stringify(options)}, preallocation ${preallocation}`, async () => {
      await create(options, preallocation);
      const check = await qemuCheck(path);
      assert.deepEqual([check.corruptions, check.leaks, check.checkErrors], [0, 0, 0], check.text);
      const clusters = Math.ceil(options.sizeBytes / (options.clusterBytes ?? 65_536));
      assert.equal(check.allocatedClusters, clusters);
      const { data } = (await qemuInfo())['format-specific'];
      if (options.version !== 2)
        assert.equal(data['lazy-refcounts'], options.lazyRefcounts ?? false);
      const zero = join(folder.path, 'zero.img');
      rmSync(zero, { force: true });
      await qemuImgOutput('create', '-q', '-f', 'raw', zero, String(options.sizeBytes));
      await qemuImgOutput('compare', path, zero);
      const stats = statSync(existsSync(dataPath) ? dataPath : path);
      const used = stats.blocks * 512;
      if (preallocation === 'metadata') assert.ok(used < options.sizeBytes / 4, `${used} bytes`);
      else assert.ok(used >= options.sizeBytes, `${used} bytes`);
      assert.ok(stats.size >= options.sizeBytes);
    });
  }
}

test('a size that is not whole sectors is rounded up', async () => {
  await create({ sizeBytes: 1000 }, 'off');
  assert.equal((await qemuInfo())['virtual-size'], 1024);
});

const REFUSED: Readonly<Record<string, readonly [Options, RegExp]>> = {
  'clusters of 256 bytes': [{ sizeBytes: MIB, clusterBytes: 256 }, /cluster size/],
  'clusters of 4 MiB': [{ sizeBytes: MIB, clusterBytes: 4 * MIB }, /cluster size/],
  'clusters of 5000 bytes': [{ sizeBytes: MIB, clusterBytes: 5000 }, /cluster size/],
  'refcounts of 3 bits': [{ sizeBytes: MIB, refcountBits: 3 }, /refcount width/],
  'refcounts of 128 bits': [{ sizeBytes: MIB, refcountBits: 128 }, /refcount width/],
  'version 2 with all that is new': [
    {
      sizeBytes: MIB,
      version: 2,
      refcountBits: 8,
      lazyRefcounts: true,
      extendedL2: true,
      compressionType: 'zstd',
      dataFile: { raw: false },
    },
    /refcounts.*lazy.*extended.*zstd.*data file/,
  ],
  'extended L2 entries in small clusters': [
    { sizeBytes: MIB, extendedL2: true, clusterBytes: 8192 },
    /16 KiB/,
  ],
  'a backing file and a raw data file': [
    { sizeBytes: MIB, backing: { name: 'base.img', format: 'raw' }, dataFile: { raw: true } },
    /exclude each other/,
  ],
  'more than the L1 table can map': [{ sizeBytes: 2 ** 38, clusterBytes: 512 }, /too many/],
  'no size': [{ sizeBytes: Number.NaN }, /NaN bytes/],
  'a negative size': [{ sizeBytes: -512 }, /-512 bytes/],
  'a backing name that does not fit': [
    { sizeBytes: MIB, clusterBytes: 512, backing: { name: 'n'.repeat(500), format: 'raw' } },
    /too long/,
  ],
};

for (const [name, [options, message]] of Object.entries(REFUSED)) {
  test(`refused: ${name}`, async () => {
    await assert.rejects(create(options, 'off'), { code: 'invalid-config', message });
  });
}

test('refused: preallocation over a backing file', async () => {
  const options: Options = { sizeBytes: MIB, backing: { name: 'base.img', format: 'raw' } };
  await assert.rejects(create(options, 'full'), { code: 'invalid-config', message: /hide/ });
});

test('a file is not an image until all of it is durable', () => {
  const file = new MemoryImageFile();
  const plainWrite = file.writeSync.bind(file);
  let syncsBeforeHeader = 0;
  file.writeSync = (offset, data) => {
    if (offset === 0) syncsBeforeHeader = file.syncs;
    else assert.equal(Buffer.from(file.content().subarray(0, 4)).readUInt32BE(), 0);
    plainWrite(offset, data);
  };
  createQcow2(file, { sizeBytes: MIB });
  assert.equal(syncsBeforeHeader, 1);
  assert.equal(file.syncs, 2);
  assert.equal(Buffer.from(file.content().subarray(0, 4)).toString('latin1'), 'QFI\xfb');
});

test('a preallocation that is broken off leaves a sound image', async () => {
  rmSync(path, { force: true });
  const file = createHostFile(path, hostFiles());
  const abort = new AbortController();
  const made = createPreallocated(file, { sizeBytes: 64 * MIB }, 'full', abort.signal);
  abort.abort();
  await assert.rejects(made, { name: 'AbortError' });
  file.close();
  const check = await qemuCheck(path);
  assert.equal(check.corruptions, 0, check.text);
});
