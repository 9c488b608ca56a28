import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { ZstdFrames } from '../../../../../../vmm/backends/disk/image/tools/zstd-frames.ts';

for (const bytes of [512, 65_536, 2 ** 21]) {
  test(`inputs of ${bytes} bytes become one frame each, with few streams`, async () => {
    const frames = new ZstdFrames(bytes, 2);
    const inputs = Array.from(
      { length: 12 },
      (_, i) =>
        // Nothing to compress, all to compress, and something in between.
        [
          randomBytes(bytes),
          Buffer.alloc(bytes, i),
          Buffer.from(`${i}`.repeat(bytes)).subarray(0, bytes),
        ][i % 3] ?? Buffer.alloc(0),
    );
    const outputs = await Promise.all(inputs.map((input) => frames.compress(input)));
    for (const [i, output] of outputs.entries()) {
      const input = inputs[i] ?? Buffer.alloc(0);
      // A second frame after the first would be too much output.
      const plain = zstdDecompressSync(output, { maxOutputLength: bytes });
      assert.ok(plain.equals(input), `input ${i}`);
      assert.equal(output.readUInt32LE(), 0xfd2fb528);
    }
    frames.close();
  });
}
