import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { Qcow2Image } from '../../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { Qcow2InMemory } from '../../../../../../support/qcow2-in-memory.ts';
import { qemuMap } from '../../../../../../support/qemu-img.ts';

const SIZE = 2 ** 21;

let images: Qcow2InMemory;
beforeEach(() => {
  images = new Qcow2InMemory();
});
afterEach(() => images.remove());

function readAll(image: Qcow2Image): Uint8Array {
  const content = new Uint8Array(image.sizeBytes);
  image.readSync(0, content);
  return content;
}

/** What the map says of contents; where they lie is each program's own business. */
async function kinds(path: string): Promise<unknown[]> {
  const entries = await qemuMap(path);
  return entries.map(({ start, length, depth, present, zero, data }) => [
    start,
    length,
    depth,
    present,
    zero,
    data,
  ]);
}

type Step = readonly [act: 'write' | 'zero' | 'unmap' | 'discard', offset: number, length: number];

const STEPS: readonly Step[] = [
  ['write', 0, 10 * 65_536],
  ['zero', 65_536, 65_536],
  ['unmap', 2 * 65_536, 65_536],
  ['discard', 3 * 65_536, 2 * 65_536],
  ['discard', 5 * 65_536 + 512, 65_536],
  ['zero', 6 * 65_536 + 4096, 8192],
  ['unmap', 7 * 65_536, 4096],
  ['zero', 12 * 65_536, 65_536],
  ['discard', 14 * 65_536, 65_536],
  ['write', 65_536 + 1024, 2048],
  ['write', 3 * 65_536 + 1024, 2048],
  ['zero', 16 * 65_536 + 1024, 2048],
];

function apply(image: Qcow2Image, [act, offset, length]: Step): void {
  if (act === 'write') image.writeSync(offset, new Uint8Array(length).fill(0xcd));
  else if (act === 'discard') image.discardSync(offset, length);
  else image.writeZeroesSync(offset, length, act === 'unmap');
}

function asQemuIo([act, offset, length]: Step): string {
  const verb = { write: 'write', zero: 'write -z', unmap: 'write -z -u', discard: 'discard' }[act];
  return `${verb} ${offset} ${length}`;
}

const VARIANTS: readonly (readonly string[])[] = [
  ['compat=1.1'],
  ['compat=1.1', 'extended_l2=on'],
  ['compat=1.1', 'backing'],
  ['compat=1.1', 'extended_l2=on', 'backing'],
];

for (const options of VARIANTS) {
  test(`zeroes and discards leave the same map as QEMU's: ${options}`, async () => {
    let backing: Qcow2Image | undefined;
    const given = options.filter((option) => option !== 'backing');
    if (given.length < options.length) {
      await images.create(SIZE);
      const file = images.qemuIo(`write -P 0xcd 0 ${SIZE - 65_536}`);
      const path = join(images.folder, 'backing.qcow2');
      copyFileSync(images.path, path);
      backing = Qcow2Image.open(file, { readOnly: true, backing: undefined });
      given.push(`backing_file=${path}`, 'backing_fmt=qcow2');
    }
    const file = await images.create(SIZE, ...given);
    const image = Qcow2Image.open(file, { readOnly: false, backing });
    for (const step of STEPS) apply(image, step);
    const content = readAll(image);
    image.close();

    execFileSync('qemu-io', [
      '-d',
      'unmap',
      ...STEPS.flatMap((step) => ['-c', asQemuIo(step)]),
      images.path,
    ]);
    const expected = await kinds(images.path);
    const reference = Qcow2Image.open(images.load(), { readOnly: true, backing });
    assert.deepEqual(content, readAll(reference));
    await images.assertSound(file, content);
    assert.deepEqual(await kinds(images.path), expected);
  });
}

test('version 2 has no zero clusters: discarded clusters become unallocated', async () => {
  const file = await images.create(SIZE, 'compat=0.10');
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined });
  image.writeSync(0, new Uint8Array(4 * 65_536).fill(1));
  image.writeZeroesSync(0, 65_536, true);
  image.discardSync(65_536, 65_536);
  image.writeZeroesSync(2 * 65_536, 65_536, false);
  const expected = new Uint8Array(SIZE).fill(1, 3 * 65_536, 4 * 65_536);
  assert.deepEqual(readAll(image), expected);
  assert.equal(image.mapSync(0, SIZE).kind, 'unallocated');
  assert.equal(image.mapSync(0, SIZE).length, 2 * 65_536);
  assert.equal(image.mapSync(2 * 65_536, SIZE - 2 * 65_536).kind, 'data');
  image.close();
  await images.assertSound(file, expected);
});

test('version 2 with a backing image: zeroes hide it, and a discard does nothing', async () => {
  await images.create(SIZE);
  const backing = Qcow2Image.open(images.qemuIo('write -P 3 0 1M'), {
    readOnly: true,
    backing: undefined,
  });
  const file = await images.create(SIZE, 'compat=0.10');
  const image = Qcow2Image.open(file, { readOnly: false, backing });
  image.writeSync(0, new Uint8Array(65_536).fill(1));
  image.discardSync(0, SIZE);
  image.writeZeroesSync(65_536, 65_536, true);
  const expected = new Uint8Array(SIZE).fill(3, 0, 2 ** 20).fill(1, 0, 65_536);
  expected.fill(0, 65_536, 131_072);
  assert.deepEqual(readAll(image), expected);
});

test('zeroes over a whole empty disk cost no tables when they may be unallocated', async () => {
  const file = await images.create(2 ** 40);
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined });
  image.writeZeroesSync(0, 2 ** 40, true);
  image.discardSync(0, 2 ** 40);
  assert.equal(image.metadataDirty, false);
  assert.equal(image.mapSync(0, 2 ** 40).length, 2 ** 40);
});

test('space comes back only when it is durable that nothing refers to it', async () => {
  const file = await images.create(SIZE);
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined });
  image.writeSync(0, new Uint8Array(65_536).fill(1));
  image.flushSync();
  const old = image.mapSync(0, 65_536).fileOffset;
  image.discardSync(0, 65_536);
  image.writeSync(0, new Uint8Array(65_536).fill(2));
  assert.notEqual(image.mapSync(0, 65_536).fileOffset, old);
  const kept = new Uint8Array(65_536);
  file.readSync(old, kept);
  assert.deepEqual(kept, new Uint8Array(65_536).fill(1));
  image.flushSync();
  file.readSync(old, kept);
  assert.deepEqual(kept, new Uint8Array(65_536));
  image.writeSync(65_536, Uint8Array.of(3));
  assert.equal(image.mapSync(65_536, 65_536).fileOffset, old);
});
