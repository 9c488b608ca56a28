/** Repaired images: qemu-img finds nothing in them, and reads from them what it read before. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkImage } from '../../../../../../../vmm/backends/disk/image/qcow2/check/check.ts';
import { repairImage } from '../../../../../../../vmm/backends/disk/image/qcow2/check/repair.ts';
import { parseHeader } from '../../../../../../../vmm/backends/disk/image/qcow2/header/header.ts';
import { HeaderField } from '../../../../../../../vmm/backends/disk/image/qcow2/header/layout.ts';
import { CrashingImageFile } from '../../../../../../support/crashing-image-file.ts';
import { temporaryFolder } from '../../../../../../support/disk-fixtures.ts';
import { lowRefcounts } from '../../../../../../support/low-refcounts.ts';
import { MemoryImageFile } from '../../../../../../support/memory-image-file.ts';
import { buildImage, damageImage } from '../../../../../../support/qcow2-damage.ts';
import { qemuCheck, qemuImg, qemuImgOutput } from '../../../../../../support/qemu-img.ts';
import { Random } from '../../../../../../support/random.ts';

const folder = temporaryFolder();
after(() => folder.remove());

let count = 0;
function freePath(): string {
  return join(folder.path, `${count++}.qcow2`);
}

/** An image of 64 clusters, written here and there. */
async function writtenImage(options: string): Promise<string> {
  const path = freePath();
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', options, path, '4M');
  const raw = `${path}.raw`;
  writeFileSync(raw, Buffer.alloc(2 ** 20, 'tsvm'));
  await qemuImgOutput('convert', '-n', '-f', 'raw', '-O', 'qcow2', raw, path);
  return path;
}

function setDirtyBit(file: MemoryImageFile): void {
  const field = Buffer.alloc(8);
  file.readSync(HeaderField.incompatible_features, field);
  field.writeUInt8(field.readUInt8(7) | 1, 7);
  file.writeSync(HeaderField.incompatible_features, field);
}

/** Fails unless qemu-img reads the same from both, where it can read the first at all. */
async function assertSameContent(before: string, repaired: string): Promise<void> {
  const { code, stdout } = await qemuImg('compare', '-f', 'qcow2', '-F', 'qcow2', before, repaired);
  assert.notEqual(code, 1, stdout);
}

const SEEDS = Array.from({ length: 24 }, (_, index) => 2000 + index);

for (const seed of SEEDS) {
  test(`a damaged image is repaired, or as far as that goes, seed ${seed}`, async () => {
    const random = new Random(seed);
    const path = freePath();
    await buildImage(random, path);
    const file = new MemoryImageFile(readFileSync(path), path);
    damageImage(random, file);
    const damaged = freePath();
    writeFileSync(damaged, file.content());
    const before = checkImage(file);
    const result = repairImage(file, 'all');
    writeFileSync(path, file.content());

    const theirs = await qemuCheck(path);
    assert.equal(result.corruptions, theirs.corruptions, theirs.text);
    assert.equal(result.leaks, theirs.leaks, theirs.text);
    assert.equal(result.corruptionsFixed, Math.max(0, before.corruptions - result.corruptions));
    assert.deepEqual(result.problems, before.problems);
    await assertSameContent(damaged, path);
    const { dirty } = parseHeader(file);
    assert.equal(dirty, false);
    if (result.corruptions > 0) {
      // What is left is what qemu-img cannot repair either.
      await qemuImg('check', '-q', '-f', 'qcow2', '-r', 'all', damaged);
      assert.notEqual((await qemuCheck(damaged)).corruptions, 0, result.problems.join('\n'));
    }
  });
}

test('leaks only: refcounts that are too low stay as they are', async () => {
  const path = await writtenImage('cluster_size=64k');
  const file = new MemoryImageFile(readFileSync(path), path);
  const { refcountTableOffset } = parseHeader(file);
  const entry = Buffer.alloc(8);
  file.readSync(refcountTableOffset, entry);
  const block = Number(entry.readBigUInt64BE());
  file.writeSync(block + 2 * 5, Uint8Array.of(0, 9));
  file.writeSync(block + 2 * 6, Uint8Array.of(0, 0));
  const result = repairImage(file, 'leaks');
  assert.deepEqual(
    [result.leaks, result.leaksFixed, result.corruptions],
    [0, 1, checkImage(file).corruptions],
  );
  writeFileSync(path, file.content());
  const theirs = await qemuCheck(path);
  assert.equal(theirs.leaks, 0);
  assert.ok(theirs.corruptions >= 1);
});

for (const bits of [1, 2, 4, 8, 16, 32, 64]) {
  test(`no refcount is right, in ${bits} bits, and no refcount block is there`, async () => {
    const path = await writtenImage(`cluster_size=4k,refcount_bits=${bits}`);
    const damaged = freePath();
    const file = new MemoryImageFile(readFileSync(path), path);
    const { refcountTableOffset } = parseHeader(file);
    file.writeSync(refcountTableOffset, new Uint8Array(4096));
    setDirtyBit(file);
    writeFileSync(damaged, file.content());
    const result = repairImage(file, 'all');
    assert.deepEqual([result.leaks, result.corruptions], [0, 0]);
    assert.equal(parseHeader(file).dirty, false);
    writeFileSync(path, file.content());
    const theirs = await qemuCheck(path);
    assert.deepEqual([theirs.leaks, theirs.corruptions], [0, 0], theirs.text);
    await assertSameContent(damaged, path);
  });
}

test('the corrupt bit is cleared when nothing is wrong any more, not before', async () => {
  const path = await writtenImage('cluster_size=64k');
  const file = new MemoryImageFile(readFileSync(path), path);
  const header = parseHeader(file);
  file.writeSync(HeaderField.incompatible_features + 7, Uint8Array.of(2));
  const l2 = Buffer.alloc(8);
  file.readSync(header.l1Offset, l2);
  const l2Offset = Number(l2.readBigUInt64BE() & 0xff_ffff_ffff_fe00n);
  const entry = Buffer.alloc(8);
  file.readSync(l2Offset, entry);
  // Data that lies at no cluster's start cannot be found again.
  file.writeSync(l2Offset, Buffer.from([...entry.subarray(0, 6), entry.readUInt8(6) | 2, 0]));
  const left = repairImage(file, 'all');
  assert.equal(left.corruptions, 1);
  assert.equal(parseHeader(file).corrupt, true);

  file.writeSync(l2Offset, entry);
  assert.equal(repairImage(file, 'all').corruptions, 0);
  assert.equal(parseHeader(file).corrupt, false);
});

test('new refcounts are not put where an entry points past the end of a file cut off', async () => {
  const path = await writtenImage('cluster_size=4k');
  const file = new MemoryImageFile(readFileSync(path), path);
  file.truncateSync(file.sizeBytes() - 40 * 4096);
  const { refcountTableOffset } = parseHeader(file);
  file.writeSync(refcountTableOffset, new Uint8Array(8));
  const size = file.sizeBytes();
  const result = repairImage(file, 'all');
  assert.ok(result.corruptions > 0);
  assert.equal(file.sizeBytes(), size);
});

test('an image that is sound is not written to', async () => {
  const path = await writtenImage('cluster_size=64k');
  const file = new MemoryImageFile(readFileSync(path), path);
  file.writes = 0;
  repairImage(file, 'all');
  assert.equal(file.writes, 0);
});

test('a crash at any moment of a repair leaves an image that can be repaired', async () => {
  let repaired = 0;
  for (const seed of SEEDS) {
    const random = new Random(seed);
    const path = freePath();
    await buildImage(random, path);
    const damaged = new MemoryImageFile(readFileSync(path), path);
    damageImage(random, damaged);
    const file = new CrashingImageFile(damaged.content());
    const result = repairImage(file, 'all');
    if (result.corruptions > 0 || file.steps === 0) continue;
    repaired++;
    for (let step = 0; step <= file.steps; step++) {
      const crashed = file.crashedAt(step, random);
      const { refcountTableOffset } = parseHeader(crashed);
      // New refcounts are whole when the header names them.
      if (refcountTableOffset !== parseHeader(damaged).refcountTableOffset) {
        assert.deepEqual(lowRefcounts(crashed), []);
      }
      const again = repairImage(crashed, 'all');
      assert.equal(
        again.corruptions,
        0,
        `seed ${seed}, step ${step}: ${again.problems.join('\n')}`,
      );
      assert.equal(parseHeader(crashed).dirty, false);
      if (step % 4 !== 0) continue;
      writeFileSync(path, damaged.content());
      const after = freePath();
      writeFileSync(after, crashed.content());
      await assertSameContent(path, after);
    }
  }
  assert.ok(repaired >= 5, `${repaired} images`);
});

test('a dirty image whose refcounts are right is only marked as clean', async () => {
  const path = await writtenImage('cluster_size=64k,lazy_refcounts=on');
  const file = new MemoryImageFile(readFileSync(path), path);
  setDirtyBit(file);
  file.writes = 0;
  assert.deepEqual([repairImage(file, 'all').corruptions, file.writes], [0, 1]);
  copyFileSync(path, `${path}.before`);
  writeFileSync(path, file.content());
  const info = JSON.parse(await qemuImgOutput('info', '--output=json', path));
  assert.equal(info['dirty-flag'], false);
});
