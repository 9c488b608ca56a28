import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterCounts } from '../../../../../../../vmm/backends/disk/image/qcow2/check/cluster-counts.ts';

test('counts of any size, visited in rising order', () => {
  const counts = new ClusterCounts();
  assert.equal(counts.add(5_000_000_000, 2 ** 40), 2 ** 40);
  assert.equal(counts.add(3, 255), 255);
  assert.equal(counts.add(3, 1), 256);
  assert.equal(counts.add(4, 1), 1);
  assert.equal(counts.get(5), 0);
  const visited: number[] = [];
  counts.forEach((cluster, count) => {
    visited.push(cluster, count);
  });
  assert.deepEqual(visited, [3, 256, 4, 1, 5_000_000_000, 2 ** 40]);
  assert.equal(counts.hasPageOf(1000), true);
  assert.equal(counts.hasPageOf(5000), false);
});

test('references scattered over petabytes take bounded memory, and are refused then', () => {
  const counts = new ClusterCounts(2 ** 20);
  const scatter = (): void => {
    for (let page = 0; page < 2000; page++) counts.add(page * ClusterCounts.PAGE_CLUSTERS, 1);
  };
  assert.throws(scatter, { code: 'invalid-disk' });
});

test('wide counts take bounded memory, too', () => {
  const counts = new ClusterCounts(2 ** 20);
  const widen = (): void => {
    for (let page = 0; page < 200; page++) counts.add(page * ClusterCounts.PAGE_CLUSTERS, 1000);
  };
  assert.throws(widen, { code: 'invalid-disk' });
});
