import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seedFrom } from '../support/random.ts';
import { fuzzImages } from './fuzz.ts';

const SECONDS = Number(process.env['TSVM_IMAGE_FUZZ_SECONDS'] ?? 10);

test(`hostile images for ${SECONDS} s: taken or refused, and nothing else`, async (t) => {
  const seed = seedFrom(process.env['TSVM_SEED'], 1);
  t.diagnostic(`TSVM_SEED=${seed} replays this`);
  const { taken = 0, refused = 0 } = await fuzzImages(SECONDS, seed);
  assert.ok(taken > 0 && refused > 0, `${taken} taken, ${refused} refused`);
});
