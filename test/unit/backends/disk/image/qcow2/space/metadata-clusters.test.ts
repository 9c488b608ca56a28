import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetadataClusters } from '../../../../../../../vmm/backends/disk/image/qcow2/space/metadata-clusters.ts';

test('a range of clusters is compared with all of metadata', () => {
  const { metadata, twice } = MetadataClusters.of(Float64Array.of(9, 0, 2 ** 40, 5));
  assert.equal(twice, undefined);
  assert.equal(metadata.firstIn(1, 4), undefined);
  assert.equal(metadata.firstIn(1, 5), 5);
  assert.equal(metadata.firstIn(6, 2 ** 41), 9);
  assert.equal(metadata.firstIn(2 ** 40 + 1, 10), undefined);
});

test('metadata comes and goes', () => {
  const { metadata } = MetadataClusters.of(Float64Array.of(0, 10));
  metadata.add(4, 3);
  assert.equal(metadata.firstIn(6, 1), 6);
  metadata.remove(4, 2);
  assert.equal(metadata.firstIn(1, 5), undefined);
  assert.equal(metadata.firstIn(1, 9), 6);
});

test('a cluster that two tables claim is found', () => {
  assert.equal(MetadataClusters.of(Float64Array.of(3, 1, 2, 3)).twice, 3);
});
