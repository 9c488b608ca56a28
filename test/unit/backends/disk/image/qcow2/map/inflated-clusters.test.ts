import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  InflatedBudget,
  InflatedClusters,
} from '../../../../../../../vmm/backends/disk/image/qcow2/map/inflated-clusters.ts';

/** Counts inflations; the content is a number that tells them apart. */
function counter() {
  let count = 0;
  const inflate = () => Uint8Array.of(++count);
  return { inflate, inflateLater: async () => inflate(), count: () => count };
}

test('a cluster is inflated once, for synchronous and asynchronous reads alike', async () => {
  const clusters = new InflatedClusters(65_536, new InflatedBudget());
  const { inflate, inflateLater, count } = counter();
  const together = await Promise.all([
    clusters.get(512, inflateLater),
    clusters.get(512, inflateLater),
  ]);
  assert.deepEqual(together, [Uint8Array.of(1), Uint8Array.of(1)]);
  assert.deepEqual(clusters.getSync(512, inflate), Uint8Array.of(1));
  assert.equal(count(), 1);
  clusters.getSync(1024, inflate);
  assert.deepEqual(await clusters.get(1024, inflateLater), Uint8Array.of(2));
});

test('after host clusters became free everything is inflated again', async () => {
  const clusters = new InflatedClusters(65_536, new InflatedBudget());
  const { inflate, inflateLater, count } = counter();
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  const early = clusters.get(0, () => promise);
  clusters.clear();
  clusters.getSync(0, inflate);
  // What was begun before must not come back.
  resolve(Uint8Array.of(99));
  assert.deepEqual(await early, Uint8Array.of(99));
  assert.deepEqual(await clusters.get(0, inflateLater), Uint8Array.of(1));
  assert.equal(count(), 1);
});

test('a failure is not kept', async () => {
  const clusters = new InflatedClusters(65_536, new InflatedBudget());
  const { inflateLater } = counter();
  await assert.rejects(async () => clusters.get(0, () => Promise.reject(new Error('broken'))));
  assert.deepEqual(await clusters.get(0, inflateLater), Uint8Array.of(1));
});

test('memory is bounded; the least recently used cluster goes first', () => {
  const clusters = new InflatedClusters(2 ** 21, new InflatedBudget());
  const { inflate, count } = counter();
  for (const offset of [0, 1, 0, 2]) clusters.getSync(offset, inflate);
  assert.equal(count(), 3);
  clusters.getSync(0, inflate);
  assert.equal(count(), 3);
  clusters.getSync(1, inflate);
  assert.equal(count(), 4);
});

test('the images of a chain share the bound; one image’s clear leaves the others’ clusters', () => {
  const budget = new InflatedBudget();
  const [top, base] = [
    new InflatedClusters(2 ** 21, budget),
    new InflatedClusters(2 ** 20, budget),
  ] as const;
  const { inflate, count } = counter();
  top.getSync(0, inflate);
  base.getSync(0, inflate);
  base.getSync(1, inflate);
  top.getSync(0, inflate);
  base.getSync(0, inflate);
  assert.equal(count(), 3);
  // One more than fits: the least recently used one goes, which is another image's.
  base.getSync(2, inflate);
  top.getSync(0, inflate);
  base.getSync(0, inflate);
  assert.equal(count(), 4);
  base.getSync(1, inflate);
  assert.equal(count(), 5);
  top.clear();
  base.getSync(1, inflate);
  assert.equal(count(), 5);
});
