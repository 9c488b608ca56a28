import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Qcow2Image } from '../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import type { MemoryImageFile } from '../../../../../support/memory-image-file.ts';
import { Qcow2InMemory } from '../../../../../support/qcow2-in-memory.ts';

const CLUSTER = 65_536;
/** Where qemu-img puts things in a small image. */
const REFCOUNT_TABLE = CLUSTER;
const REFCOUNT_BLOCK = 2 * CLUSTER;
const L1 = 3 * CLUSTER;
const L2 = 4 * CLUSTER;
const DATA = 5 * CLUSTER;

let images: Qcow2InMemory;
let file: MemoryImageFile;
beforeEach(async () => {
  images = new Qcow2InMemory();
  await images.create(2 ** 24);
  file = images.qemuIo('write -P 1 0 64k');
});
afterEach(() => images.remove());

function patch(offset: number, high: number, low: number): void {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setUint32(0, high);
  bytes.setUint32(4, low);
  file.writeSync(offset, new Uint8Array(bytes.buffer));
}

function open(readOnly = false): Qcow2Image {
  return Qcow2Image.open(file, { readOnly, backing: undefined });
}

function isCorrupt(): boolean {
  return Qcow2Image.open(file, { readOnly: true, backing: undefined }).header.corrupt;
}

test('the layout is as these tests assume', () => {
  const image = open();
  assert.equal(image.header.refcountTableOffset, REFCOUNT_TABLE);
  assert.equal(image.metadata.refcounts.blockOffset(0), REFCOUNT_BLOCK);
  assert.equal(image.header.l1Offset, L1);
  assert.equal(image.metadata.l1.l2Offset(0), L2);
  assert.equal(image.mapSync(0, 512).fileOffset, DATA);
});

const BAD_OFFSETS: readonly (readonly [string, number, number])[] = [
  ['unaligned', 0x8000_0000, DATA + 512],
  ['past the end of the file', 0x8000_0000, 0x7fff_0000],
  ['beyond 2^53', 0x80ff_ffff, 0xffff_0000],
];

for (const [what, high, low] of BAD_OFFSETS) {
  test(`an L1 entry that is ${what}`, () => {
    patch(L1, high, low);
    const image = open();
    assert.throws(() => image.mapSync(0, 512), {
      code: 'invalid-disk',
      message: /L1 table entry 0/,
    });
    assert.throws(() => image.readSync(0, new Uint8Array(1)), { code: 'invalid-disk' });
    assert.throws(() => image.writeSync(0, new Uint8Array(1)), { code: 'invalid-disk' });
  });

  test(`an L2 entry that is ${what}`, () => {
    patch(L2, high, low);
    const image = open();
    const expected = { code: 'invalid-disk', message: /entry 0 of L2 table 0/ };
    assert.throws(() => image.mapSync(0, 512), expected);
    assert.throws(() => image.readSync(0, new Uint8Array(1)), expected);
    assert.throws(() => image.writeSync(0, new Uint8Array(1)), expected);
    assert.throws(() => image.prepareWriteSync(0, 1), expected);
  });

  test(`a refcount table entry that is ${what}`, () => {
    patch(REFCOUNT_TABLE, high & 0x7fff_ffff, low);
    assert.throws(() => open().writeSync(CLUSTER, new Uint8Array(1)), { code: 'invalid-disk' });
  });
}

test('an L2 entry that points into the header', () => {
  patch(L2, 0x8000_0000, 512);
  assert.throws(() => open().mapSync(0, 512), { code: 'invalid-disk' });
});

test('a valid run ends before an invalid entry', () => {
  patch(L2 + 8, 0x8000_0000, 0x7fff_0000);
  assert.equal(open().mapSync(0, 2 * CLUSTER).length, CLUSTER);
});

test('a compressed cluster past the end, or in the header', () => {
  for (const low of [0x7fff_0000, 100]) {
    patch(L2, 0x4000_0000, low);
    const image = open();
    assert.equal(image.mapSync(0, 512).kind, 'compressed');
    assert.throws(() => image.readSync(0, new Uint8Array(1)), {
      code: 'invalid-disk',
      message: /entry 0 of L2 table 0/,
    });
  }
});

test('an invalid compressed cluster', async () => {
  patch(L2, 0x4000_0000, DATA);
  const image = open();
  assert.throws(() => image.readSync(0, new Uint8Array(1)), { code: 'invalid-disk' });
  await assert.rejects(image.read(0, new Uint8Array(1)), { code: 'invalid-disk' });
});

for (const [name, offset] of [
  ['the refcount table', REFCOUNT_TABLE],
  ['a refcount block', REFCOUNT_BLOCK],
  ['the L1 table', L1],
  ['an L2 table', L2],
] as const) {
  test(`a guest cluster that overlaps ${name} is not written`, () => {
    patch(L2 + 8, 0x8000_0000, offset);
    const before = file.content().slice(CLUSTER, DATA);
    const image = open();
    assert.equal(image.mapSync(CLUSTER, 512).writable, false);
    assert.throws(() => image.writeSync(CLUSTER, new Uint8Array(512)), { code: 'invalid-disk' });
    assert.deepEqual(file.content().slice(CLUSTER, DATA), before);
    assert.equal(isCorrupt(), true);
    assert.throws(() => image.writeSync(0, new Uint8Array(512)), { code: 'invalid-disk' });
    assert.throws(() => open(), { code: 'invalid-disk', message: /corrupt/ });
    open(true).readSync(0, new Uint8Array(512));
  });

  test(`a refcount of 0 does not let ${name} be allocated`, () => {
    file.writeSync(REFCOUNT_BLOCK + (offset / CLUSTER) * 2, Uint8Array.of(0, 0));
    const image = open();
    assert.throws(() => image.writeSync(CLUSTER, new Uint8Array(512)), { code: 'invalid-disk' });
    assert.equal(isCorrupt(), true);
  });
}

test('a guest cluster over metadata does not free it when it is discarded', () => {
  patch(L2 + 8, 0x8000_0000, L1);
  const image = open();
  image.discardSync(CLUSTER, CLUSTER);
  image.flushSync();
  assert.equal(image.metadata.refcounts.get(L1 / CLUSTER), 1);
});

test('two L1 entries with one L2 table: nothing is written', () => {
  const second = L1 + 8;
  file.writeSync(36, Uint8Array.of(0, 0, 0, 2));
  patch(second, 0x8000_0000, L2);
  const image = open();
  assert.throws(() => image.writeSync(0, new Uint8Array(512)), { code: 'invalid-disk' });
  assert.equal(isCorrupt(), true);
});

test('a zero flag in version 2', async () => {
  await images.create(2 ** 24, 'compat=0.10');
  file = images.qemuIo('write -P 1 0 64k');
  patch(L2, 0x8000_0000, DATA + 1);
  assert.throws(() => open().mapSync(0, 512), { code: 'invalid-disk', message: /version 2/ });
});

test('a sub-cluster bitmap that contradicts itself', async () => {
  await images.create(2 ** 24, 'extended_l2=on');
  file = images.qemuIo('write -P 1 0 64k');
  patch(L2 + 8, 0x0000_0001, 0x0000_0001);
  assert.throws(() => open().mapSync(0, 512), { code: 'invalid-disk', message: /bitmap/ });
  patch(L2, 0, 0);
  patch(L2 + 8, 0, 1);
  assert.throws(() => open().mapSync(0, 512), { code: 'invalid-disk', message: /bitmap/ });
});

test('an asynchronous read of a broken compressed cluster, then of an invalid entry', async (t) => {
  const compressed = 0x4000_0000;
  patch(L2, compressed, DATA);
  patch(L2 + 8, 0x8000_0000, 0x7fff_0000);
  file.writeSync(DATA, new Uint8Array(CLUSTER).fill(0xff));
  let abandoned = 0;
  const count = (): void => {
    abandoned++;
  };
  process.on('unhandledRejection', count);
  t.after(() => process.off('unhandledRejection', count));
  await assert.rejects(open(true).read(0, new Uint8Array(2 * CLUSTER)), { code: 'invalid-disk' });
  // Node reports unhandled rejections after the microtasks; the inflation was awaited.
  await new Promise(setImmediate);
  assert.equal(abandoned, 0, 'a failure that nobody waits for ends the process');
});
