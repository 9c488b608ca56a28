import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { deflateRawSync, zstdCompressSync } from 'node:zlib';
import {
  type CompressionKind,
  deflateCluster,
  deflateClusterSync,
  inflateCluster,
  inflateClusterSync,
} from '../../../../../../../vmm/backends/disk/image/qcow2/map/compression.ts';
import { zstdFrameBytes } from '../../../../../../../vmm/util/zstd-frame.ts';
import { pattern } from '../../../../../../support/disk-fixtures.ts';

const CLUSTER = 65_536;
const KINDS: readonly CompressionKind[] = ['zlib', 'zstd'];
const plain = new Uint8Array(CLUSTER);
plain.set(pattern(CLUSTER / 2, 1));

const noZstd =
  spawnSync('zstd', ['--version']).error === undefined ? false : 'zstd is not installed';

/** Deflates without a limit on the size, and without this code. */
function deflated(kind: CompressionKind, bytes: Uint8Array): Uint8Array {
  return kind === 'zlib' ? deflateRawSync(bytes) : zstdCompressSync(bytes);
}

for (const kind of KINDS) {
  test(`${kind}: there and back, on this thread and on others`, async () => {
    const small = deflateClusterSync(kind, plain);
    assert.ok(small !== undefined && small.length < CLUSTER);
    assert.deepEqual(await deflateCluster(kind, plain), small);
    assert.deepEqual(new Uint8Array(inflateClusterSync(kind, small, CLUSTER)), plain);
    assert.deepEqual(new Uint8Array(await inflateCluster(kind, small, CLUSTER)), plain);
  });

  test(`${kind}: data after the stream in its last sector is ignored`, async () => {
    const small = deflated(kind, plain);
    const another = deflated(kind, new Uint8Array(CLUSTER));
    for (const tail of [new Uint8Array(511), randomBytes(300), another]) {
      const sectors = Buffer.concat([small, tail]);
      assert.deepEqual(new Uint8Array(inflateClusterSync(kind, sectors, CLUSTER)), plain);
      assert.deepEqual(new Uint8Array(await inflateCluster(kind, sectors, CLUSTER)), plain);
    }
  });

  test(`${kind}: data that does not get smaller is not deflated`, async () => {
    assert.equal(deflateClusterSync(kind, randomBytes(CLUSTER)), undefined);
    assert.equal(await deflateCluster(kind, randomBytes(CLUSTER)), undefined);
  });

  test(`${kind}: a cluster that inflates to too much is refused, without taking memory`, async () => {
    const bomb = deflated(kind, new Uint8Array(256 * 2 ** 20));
    const before = process.memoryUsage().rss;
    for (const stream of [deflated(kind, new Uint8Array(CLUSTER + 1)), bomb]) {
      assert.throws(() => inflateClusterSync(kind, stream, CLUSTER), { code: 'invalid-disk' });
      await assert.rejects(inflateCluster(kind, stream, CLUSTER), { code: 'invalid-disk' });
    }
    assert.ok(process.memoryUsage().rss - before < 64 * 2 ** 20);
  });

  test(`${kind}: less than a cluster, a cut-off stream, noise and nothing are refused`, async () => {
    const small = deflated(kind, plain);
    const broken = [
      deflated(kind, plain.subarray(1)),
      small.subarray(0, small.length - 1),
      small.subarray(0, 10),
      new Uint8Array(512).fill(0xff),
      new Uint8Array(0),
    ];
    for (const stream of broken) {
      assert.throws(() => inflateClusterSync(kind, stream, CLUSTER), { code: 'invalid-disk' });
      await assert.rejects(inflateCluster(kind, stream, CLUSTER), { code: 'invalid-disk' });
    }
  });
}

test('zlib: nothing is looked back for over more than 4096 bytes, as QEMU inflates', () => {
  // What repeats after 8 KiB could be said in few bytes with a larger window.
  const block = randomBytes(8192);
  const twice = Buffer.concat([block, block]);
  assert.ok(deflateRawSync(twice).length < 9000);
  assert.equal(deflateClusterSync('zlib', twice), undefined);
});

test('zstd: the end of frames created by another program', { skip: noZstd }, () => {
  const inputs = [new Uint8Array(0), plain, randomBytes(300_000), new Uint8Array(2 ** 20)];
  for (const options of [[], ['--no-check'], ['-19'], ['--no-content-size'], ['--fast=5']]) {
    for (const input of inputs) {
      const frame = execFileSync('zstd', ['-c', ...options], { input });
      const more = Buffer.concat([frame, randomBytes(50)]);
      assert.equal(zstdFrameBytes(more), frame.length, `${options} ${input.length}`);
    }
  }
});

test('zstd: missing, reserved and endless frames are distinguished from valid ones', () => {
  assert.throws(() => zstdFrameBytes(Uint8Array.of(1, 2, 3, 4, 5)), /not a zstd frame/);
  const start = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00];
  assert.throws(() => zstdFrameBytes(Uint8Array.of(...start, 0x07, 0, 0)), /reserved type/);
  assert.throws(() => zstdFrameBytes(Uint8Array.of(...start)), /truncated/);
  assert.throws(() => zstdFrameBytes(Uint8Array.of(...start, 0xf8, 0xff, 0xff)), /truncated/);
});
