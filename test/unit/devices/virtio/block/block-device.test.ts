import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BlockDevice,
  type BlockWorkerOptions,
  blockQueueCount,
} from '../../../../../vmm/devices/virtio/block/block-device.ts';
import type { ActivationContext } from '../../../../../vmm/devices/virtio/device.ts';
import { StubQueueWorker } from '../../../../support/stub-virtio-device.ts';

function setUp(options: { readOnly?: boolean; queueCount?: number; serialId?: string } = {}) {
  const workers: { worker: StubQueueWorker; options: BlockWorkerOptions }[] = [];
  const device = new BlockDevice({
    id: 'disk0',
    sizeBytes: 2 ** 41 + 512,
    readOnly: options.readOnly ?? false,
    queueCount: options.queueCount ?? 2,
    workerCount: 1,
    serialId: options.serialId ?? 'tsvm-disk0',
    createWorker: (workerOptions, onBroken) => {
      const worker = new StubQueueWorker(onBroken);
      workers.push({ worker, options: workerOptions });
      return worker;
    },
  });
  const created = workers[0];
  assert.ok(created);
  return { device, ...created };
}

function context(features: bigint): ActivationContext & { calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    features,
    queues: [{ index: 0, size: 8, descriptorGpa: 0, availableGpa: 128, usedGpa: 256 }],
    configChanged: () => calls.push('config'),
    needsReset: (reason) => calls.push(reason),
  };
}

test('the configuration space has the layout of struct virtio_blk_config', () => {
  const { device, options } = setUp({ queueCount: 4 });
  const at = (offset: number, width: number) => device.config.read(offset, width);
  // Offsets: linux/virtio_blk.h.
  assert.equal(at(0, 4), 1, 'capacity, low');
  assert.equal(at(4, 4), 1, 'capacity, high');
  assert.equal(at(8, 4), 0, 'size_max');
  assert.equal(at(12, 4), 254, 'seg_max');
  assert.equal(at(20, 4), 512, 'blk_size');
  assert.equal(at(24, 1), 3, 'physical_block_exp');
  assert.equal(at(34, 2), 4, 'num_queues');
  assert.equal(at(36, 4), options.maxDiscardSectors);
  assert.equal(at(40, 4), 1, 'max_discard_seg');
  assert.equal(at(44, 4), 8, 'discard_sector_alignment');
  assert.equal(at(48, 4), options.maxWriteZeroesSectors);
  assert.equal(at(52, 4), 1, 'max_write_zeroes_seg');
  assert.equal(at(56, 1), 1, 'write_zeroes_may_unmap');
  assert.equal(at(60, 1), undefined, 'its end');
  assert.equal(options.segMax, 254);
  assert.equal(options.id, 'tsvm-disk0');
});

test('a writable disk offers its features, but not RO', () => {
  const { device } = setUp();
  const bits = [2, 6, 9, 10, 12, 13, 14, 28, 29, 32];
  const expected = bits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
  assert.equal(device.features, expected);
  assert.equal(device.deviceId, 2);
  assert.deepEqual(device.queueSizes, [256, 256]);
});

test('a read-only disk offers RO, and neither DISCARD nor WRITE_ZEROES', () => {
  const { device } = setUp({ readOnly: true });
  assert.notEqual(device.features & (1n << 5n), 0n);
  assert.equal(device.features & ((1n << 13n) | (1n << 14n)), 0n);
});

test('a queue for each vCPU, up to 16', () => {
  assert.deepEqual([1, 2, 16, 17, 32].map(blockQueueCount), [1, 2, 16, 16, 16]);
});

test('activation starts the worker with the negotiated features, reset stops it', async () => {
  const { device, worker } = setUp();
  const activation = context((1n << 32n) | (1n << 28n) | (1n << 9n));
  device.activate(activation);
  assert.deepEqual(worker.starts, [
    {
      queues: activation.queues,
      eventIdx: false,
      indirect: true,
      features: (1 << 28) | (1 << 9),
    },
  ]);
  await device.reset();
  assert.equal(worker.stops, 1);
  device.activate(context((1n << 32n) | (1n << 29n)));
  assert.equal(worker.starts[1]?.eventIdx, true);
  assert.equal(worker.starts[1]?.indirect, false);
});

test('a broken queue needs a reset, once the device is in service and until it is reset', async () => {
  const { device, worker } = setUp();
  worker.breakQueue('too early');
  const activation = context(1n << 32n);
  device.activate(activation);
  worker.breakQueue('a loop');
  await device.reset();
  worker.breakQueue('too late');
  assert.deepEqual(activation.calls, ['a loop']);
});

test('a serial that GET_ID cannot give is refused', () => {
  for (const serialId of ['x'.repeat(21), 'é', 'a\n', '\0']) {
    assert.throws(() => setUp({ serialId }), { code: 'invalid-config' }, serialId);
  }
  setUp({ serialId: 'x'.repeat(20) });
  setUp({ serialId: '' });
});
