import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { createQcow2 } from '../../../../../../../vmm/backends/disk/image/qcow2/create/create.ts';
import { Qcow2Image } from '../../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { MemoryImageFile } from '../../../../../../support/memory-image-file.ts';
import { Qcow2InMemory } from '../../../../../../support/qcow2-in-memory.ts';
import { qemuCheck } from '../../../../../../support/qemu-img.ts';

const CLUSTER = 65_536;

let images: Qcow2InMemory;
beforeEach(() => {
  images = new Qcow2InMemory();
});
afterEach(() => images.remove());

/** Tells in which order what was written became durable, and fails or waits when told to. */
class WatchedFile extends MemoryImageFile {
  /** Offsets written between two syncs, in order. */
  readonly epochs: number[][] = [[]];
  failSyncs = 0;
  failWrites = 0;
  /** What asynchronous operations wait for. */
  gate: Promise<void> = Promise.resolve();

  override writeSync(offset: number, data: Uint8Array): void {
    if (this.failWrites > 0 && --this.failWrites === 0) throw new Error('write fails');
    super.writeSync(offset, data);
    this.epochs.at(-1)?.push(offset);
  }

  override async write(offset: number, data: Uint8Array): Promise<void> {
    await this.gate;
    this.writeSync(offset, data);
  }

  override datasyncSync(): void {
    if (this.failSyncs > 0 && --this.failSyncs === 0) throw new Error('sync fails');
    this.epochs.push([]);
    super.datasyncSync();
  }

  override async datasync(): Promise<void> {
    this.datasyncSync();
    await this.gate;
  }

  /** The epoch in which an offset was first written. */
  epochOf(offset: number): number {
    return this.epochs.findIndex((offsets) => offsets.includes(offset));
  }
}

async function opened(...options: string[]): Promise<{ file: WatchedFile; image: Qcow2Image }> {
  const created = await images.create(2 ** 24, ...options);
  const file = new WatchedFile(created.content(), images.path);
  file.epochs.splice(0, file.epochs.length, []);
  file.syncs = 0;
  return { file, image: Qcow2Image.open(file, { readOnly: false, backing: undefined }) };
}

function offsetOf(image: Qcow2Image, what: 'refcount block' | 'L1' | 'L2' | 'data'): number {
  const { l1, refcounts } = image.metadata;
  if (what === 'L1') return l1.fileOffset;
  if (what === 'L2') return l1.l2Offset(0);
  if (what === 'refcount block') return refcounts.blockOffset(0);
  return image.mapSync(0, CLUSTER).fileOffset;
}

test('data, refcounts and a new L2 table are durable before the L1 table refers to them', async () => {
  const { file, image } = await opened();
  image.writeSync(0, new Uint8Array(CLUSTER).fill(1));
  assert.deepEqual(file.epochs, [[offsetOf(image, 'data')]]);
  image.flushSync();
  const first = file.epochOf(offsetOf(image, 'data'));
  assert.equal(file.epochOf(offsetOf(image, 'refcount block')), first);
  assert.equal(file.epochOf(offsetOf(image, 'L2')), first);
  assert.equal(file.epochOf(offsetOf(image, 'L1')), first + 1);
  assert.equal(file.syncs, 2);
});

test('refcounts are durable before an L2 table that is in use refers to the cluster', async () => {
  const { file, image } = await opened();
  image.writeSync(0, new Uint8Array(512));
  image.flushSync();
  file.epochs.splice(0, file.epochs.length, []);
  image.writeSync(CLUSTER, new Uint8Array(512));
  image.flushSync();
  assert.equal(file.epochOf(offsetOf(image, 'refcount block')), 0);
  assert.equal(file.epochOf(offsetOf(image, 'L2')), 1);
  assert.equal(file.epochs.length, 3);
});

test('a flush without changed metadata is one sync', async () => {
  const { file, image } = await opened();
  image.writeSync(0, new Uint8Array(512).fill(1));
  image.flushSync();
  file.syncs = 0;
  image.writeSync(0, new Uint8Array(512).fill(2));
  assert.equal(image.metadataDirty, false);
  image.flushSync();
  await image.flush();
  assert.equal(file.syncs, 2);
});

test('a flush waits for the writes before it, and nothing waits for a flush', async () => {
  const { file, image } = await opened();
  let open = () => {};
  file.gate = new Promise((resolve) => {
    open = resolve;
  });
  const write = image.write(0, new Uint8Array(CLUSTER).fill(1));
  const flush = image.flush();
  await new Promise(setImmediate);
  assert.equal(file.syncs, 0, 'the data is not there yet');
  assert.equal(image.metadataDirty, true);
  image.writeSync(CLUSTER, new Uint8Array(CLUSTER).fill(2));
  open();
  await write;
  await flush;
  assert.equal(image.metadataDirty, true, 'what came after is not flushed');
  await Promise.all([image.flush(), image.flush()]);
  assert.equal(image.metadataDirty, false);
  const expected = new Uint8Array(2 ** 24).fill(1, 0, CLUSTER).fill(2, CLUSTER, 2 * CLUSTER);
  await images.assertSound(file, expected);
});

test('a synchronous flush overtakes a waiting one', async () => {
  const { file, image } = await opened();
  image.writeSync(0, new Uint8Array(512).fill(1));
  const flush = image.flush();
  await Promise.resolve();
  image.flushSync();
  assert.equal(image.metadataDirty, false);
  await flush;
  await images.assertSound(file, new Uint8Array(2 ** 24).fill(1, 0, 512));
});

test('the failure of a flush that was overtaken reaches both who asked', async () => {
  const { file, image } = await opened();
  image.writeSync(0, new Uint8Array(512).fill(1));
  const flush = image.flush();
  file.failSyncs = 2;
  assert.throws(() => image.flushSync(), /sync fails/);
  await assert.rejects(flush, /sync fails/);
  assert.equal(image.metadataDirty, true);
  await image.flush();
  await images.assertSound(file, new Uint8Array(2 ** 24).fill(1, 0, 512));
});

test('the refcount table moves while a flush waits', async () => {
  const { file, image } = await opened('cluster_size=512', 'refcount_bits=64');
  const data = new Uint8Array(2 ** 17).fill(1);
  image.writeSync(0, data);
  let open = () => {};
  file.gate = new Promise((resolve) => {
    open = resolve;
  });
  const write = image.write(2 ** 17, data);
  const flush = image.flush();
  await new Promise(setImmediate);
  const before = image.header.refcountTableOffset;
  let end = 2 ** 18;
  for (; image.header.refcountTableOffset === before; end += 2 ** 17) image.writeSync(end, data);
  // A crash now: nothing that the file refers to is missing.
  images.save(file);
  const { corruptions, checkErrors, text } = await qemuCheck(images.path);
  assert.deepEqual([corruptions, checkErrors], [0, 0], text);
  open();
  await write;
  await flush;
  image.close();
  await images.assertSound(file, new Uint8Array(2 ** 24).fill(1, 0, end));
});

for (const failing of ['failSyncs', 'failWrites'] as const) {
  for (let nth = 1; nth <= 3; nth++) {
    test(`data that a flush failed to write is written by the next one: ${failing}, ${nth}`, async () => {
      const { file, image } = await opened('cluster_size=4096');
      const expected = new Uint8Array(2 ** 24);
      const write = (offset: number, value: number) => {
        image.writeSync(offset, new Uint8Array(4096).fill(value));
        expected.fill(value, offset, offset + 4096);
      };
      write(0, 1);
      image.flushSync();
      write(0, 2);
      write(8192, 3);
      write(2 ** 23, 4);
      image.discardSync(0, 4096);
      expected.fill(0, 0, 4096);
      file[failing] = nth;
      const fails = failing === 'failWrites' || nth <= 2;
      if (fails) assert.throws(() => image.flushSync(), /fails/);
      if (fails) assert.equal(image.metadataDirty, true);
      file[failing] = 0;
      write(2 ** 22, 5);
      await image.flush();
      assert.equal(image.metadataDirty, false);
      await images.assertSound(file, expected);
    });
  }
}

test('a failed write leaves the old data', async () => {
  const { file, image } = await opened();
  image.writeSync(0, new Uint8Array(512).fill(1));
  file.failWrites = 1;
  assert.throws(() => image.writeSync(CLUSTER, new Uint8Array(CLUSTER)), /write fails/);
  assert.equal(image.mapSync(CLUSTER, CLUSTER).kind, 'unallocated');
  image.close();
  await images.assertSound(file, new Uint8Array(2 ** 24).fill(1, 0, 512));
});

test('closing writes outstanding data', async () => {
  const { file, image } = await opened();
  image.writeSync(5, Uint8Array.of(1));
  image.close();
  assert.ok(file.closed);
  const expected = new Uint8Array(2 ** 24);
  expected[5] = 1;
  await images.assertSound(file, expected);
});

test('a flush does not truncate a file that another thread extends meanwhile', () => {
  const behind = 16 * CLUSTER;
  class SharedFile extends MemoryImageFile {
    isGrowing = false;

    override sizeBytes(): number {
      const bytes = super.sizeBytes();
      if (this.isGrowing) super.writeSync(behind, new Uint8Array(512).fill(9));
      return bytes;
    }
  }
  const file = new SharedFile();
  createQcow2(file, { sizeBytes: 2 ** 24 });
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined });
  image.writeSync(0, new Uint8Array(512).fill(1));
  file.isGrowing = true;
  image.flushSync();
  const found = new Uint8Array(1);
  file.readSync(behind, found);
  assert.equal(found[0], 9);
});

test('closing an image that was not changed waits for nothing', async () => {
  const { file, image } = await opened();
  image.readSync(0, new Uint8Array(CLUSTER));
  image.close();
  assert.equal(file.syncs, 0);
  assert.deepEqual(file.epochs, [[]]);
});

test('closing an image that was changed makes the change durable', async () => {
  const { file, image } = await opened();
  const data = new Uint8Array(CLUSTER).fill(7);
  image.writeSync(0, data);
  image.flushSync();
  const before = file.syncs;
  // In place: no metadata is dirty after this.
  image.writeSync(0, data.fill(8));
  image.close();
  assert.ok(file.syncs > before);
  assert.deepEqual(file.epochs.at(-1), []);
});
