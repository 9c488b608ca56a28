import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RngDevice } from '../../../../../vmm/devices/virtio/rng/rng-device.ts';
import { StubQueueWorker } from '../../../../support/stub-virtio-device.ts';

test('an entropy device is one queue and no configuration', async () => {
  let worker: StubQueueWorker | undefined;
  const device = new RngDevice({
    id: 'rng0',
    createWorker: (onBroken) => {
      worker = new StubQueueWorker(onBroken);
      return worker;
    },
  });
  assert.equal(device.deviceId, 4);
  assert.deepEqual(device.queueSizes, [8]);
  assert.equal(device.features, (1n << 32n) | (1n << 28n) | (1n << 29n));
  assert.equal(device.config.read(0, 1), undefined);
  const reasons: string[] = [];
  device.activate({
    features: device.features,
    queues: [{ index: 0, size: 8, descriptorGpa: 0, availableGpa: 0x400, usedGpa: 0x800 }],
    configChanged: () => {},
    needsReset: (reason) => reasons.push(reason),
  });
  worker?.breakQueue('a loop');
  assert.deepEqual(reasons, ['a loop']);
  assert.deepEqual(device.statistics(), { requests: 1 });
  await device.reset();
  assert.equal(worker?.stops, 1);
});
