/** Checks of whole and of damaged images find what `qemu-img check` finds, figure by figure. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkImage } from '../../../../../../../vmm/backends/disk/image/qcow2/check/check.ts';
import type { CheckResult } from '../../../../../../../vmm/backends/disk/image/qcow2/check/check-report.ts';
import { temporaryFolder } from '../../../../../../support/disk-fixtures.ts';
import { MemoryImageFile } from '../../../../../../support/memory-image-file.ts';
import { buildImage, damageImage } from '../../../../../../support/qcow2-damage.ts';
import { qemuCheck, qemuImgOutput } from '../../../../../../support/qemu-img.ts';
import { Random } from '../../../../../../support/random.ts';

const folder = temporaryFolder();
after(() => folder.remove());

function loadImage(path: string): MemoryImageFile {
  return new MemoryImageFile(readFileSync(path), path);
}

/** The figures that both sides have. */
function figures(
  result: Omit<CheckResult, 'leaksFixed' | 'corruptionsFixed' | 'totalClusters' | 'problems'>,
) {
  const { leaks, corruptions, checkErrors, imageEndOffset } = result;
  const { allocatedClusters, compressedClusters, fragmentedClusters } = result;
  const clusters = { allocatedClusters, compressedClusters, fragmentedClusters };
  return { leaks, corruptions, checkErrors, imageEndOffset, ...clusters };
}

const SEEDS = Array.from({ length: 24 }, (_, index) => 1000 + index);

for (const seed of SEEDS) {
  test(`whole and damaged: as qemu-img counts, seed ${seed}`, async () => {
    const random = new Random(seed);
    const path = join(folder.path, `${seed}.qcow2`);
    await buildImage(random, path);
    const whole = checkImage(loadImage(path));
    assert.deepEqual(figures(whole), figures(await qemuCheck(path)));
    assert.equal(whole.corruptions, 0, whole.problems.join('\n'));

    const file = loadImage(path);
    damageImage(random, file);
    writeFileSync(path, file.content());
    const damaged = checkImage(file);
    const theirs = await qemuCheck(path);
    assert.deepEqual(
      figures(damaged),
      figures(theirs),
      `${theirs.text}\n${damaged.problems.join('\n')}`,
    );
    const found = damaged.leaks + damaged.corruptions + damaged.checkErrors;
    assert.equal(damaged.problems.length > 0, found > 0);
  });
}

test('the guest clusters are counted, the last one also when it is not whole', async () => {
  const path = join(folder.path, 'odd.qcow2');
  await qemuImgOutput('create', '-q', '-f', 'qcow2', path, '66048');
  assert.equal(checkImage(loadImage(path)).totalClusters, 2);
});

test('a file that is not a qcow2 image is refused', () => {
  assert.throws(() => checkImage(new MemoryImageFile(new Uint8Array(4096))), {
    code: 'invalid-disk',
  });
});
