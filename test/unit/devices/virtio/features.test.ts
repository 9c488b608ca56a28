import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  featuresRefusal,
  featuresWord,
  replaceFeaturesWord,
} from '../../../../vmm/devices/virtio/features.ts';

const VERSION_1 = 1n << 32n;

test('features are shown as 32-bit words, and none beyond bit 63', () => {
  const features = 0x8000_0001_ffff_fffen;
  assert.equal(featuresWord(features, 0), 0xffff_fffe);
  assert.equal(featuresWord(features, 1), 0x8000_0001);
  for (const select of [2, 3, 64, 0xffff_ffff]) assert.equal(featuresWord(features, select), 0);
});

test('a word is replaced and the other stays', () => {
  assert.equal(replaceFeaturesWord(0x1_0000_0002n, 0, 0xffff_ffff), 0x1_ffff_ffffn);
  assert.equal(replaceFeaturesWord(0x1_0000_0002n, 1, 0x8000_0000), 0x8000_0000_0000_0002n);
});

test('unoffered features acked are refused', () => {
  const offered = VERSION_1 | 4n;
  assert.equal(featuresRefusal(offered, offered), undefined);
  assert.equal(featuresRefusal(offered, VERSION_1), undefined);
  assert.match(featuresRefusal(offered, offered | 8n) ?? '', /0x8 were not offered/);
  assert.match(featuresRefusal(offered, offered | (1n << 63n)) ?? '', /not offered/);
});

test('a driver that does not know VERSION_1 is refused', () => {
  assert.match(featuresRefusal(VERSION_1 | 4n, 4n) ?? '', /VERSION_1/);
  assert.match(featuresRefusal(VERSION_1, 0n) ?? '', /VERSION_1/);
});
