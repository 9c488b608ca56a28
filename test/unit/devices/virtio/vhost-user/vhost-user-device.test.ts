/** A device that another process serves: when the process starts, ends and is given up. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { StateReader } from '../../../../../vmm/devices/device-state.ts';
import { ConfigSpace } from '../../../../../vmm/devices/virtio/config-space.ts';
import { VhostUserDevice } from '../../../../../vmm/devices/virtio/vhost-user/vhost-user-device.ts';
import { TsvmError } from '../../../../../vmm/errors.ts';
import { StubQueueWorker } from '../../../../support/stub-virtio-device.ts';

const QUEUE = { index: 0, size: 8, descriptorGpa: 0, availableGpa: 4096, usedGpa: 8192 };

function make() {
  const calls: string[] = [];
  const workers: StubQueueWorker[] = [];
  const device = new VhostUserDevice({
    id: 'share0',
    deviceId: 26,
    features: 0n,
    queueSizes: [8],
    config: new ConfigSpace(4),
    backend: {
      start: (features) => calls.push(`start ${features}`),
      stop: async () => {
        calls.push('stop');
      },
      abandon: () => calls.push('abandon'),
    },
    createWorker: (onBroken) => {
      const worker = new StubQueueWorker(onBroken);
      workers.push(worker);
      return worker;
    },
  });
  const needs: string[] = [];
  const context = {
    features: 1n << 32n,
    queues: [QUEUE],
    configChanged: () => {},
    needsReset: (reason: string) => needs.push(reason),
  };
  const [worker] = workers;
  assert.ok(worker);
  return { device, calls, worker, context, needs };
}

/** The device's own state, as a saved one. */
function saved(device: VhostUserDevice): StateReader {
  return new StateReader('share0', device.save());
}

test('a process for each driver; a pause keeps it', async () => {
  const { device, calls, context } = make();
  device.activate(context);
  await device.quiesce();
  device.activate(context);
  assert.deepEqual(calls, [`start ${1n << 32n}`]);
  await device.reset();
  device.activate(context);
  assert.deepEqual(calls.slice(1), ['stop', `start ${1n << 32n}`]);
});

test('a process that does not finish its requests is ended, and they are dropped', async (t: TestContext) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { device, calls, context, worker } = make();
  device.activate(context);
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.inFlight = promise;
  const reset = device.reset();
  t.mock.timers.tick(4_999);
  assert.deepEqual(calls.slice(1), []);
  t.mock.timers.tick(1);
  await Promise.resolve();
  assert.deepEqual(calls.slice(1), ['stop', 'abandon']);
  resolve();
  await reset;
  assert.deepEqual(calls.slice(1), ['stop', 'abandon', 'stop']);
});

test('a failed process makes the device need a reset', () => {
  const { device, context, worker, needs } = make();
  device.activate(context);
  worker.breakQueue('the backend of the device is gone');
  assert.deepEqual(needs, ['the backend of the device is gone']);
});

test('a state with mounted folders is refused, with advice', () => {
  const { device, context } = make();
  make().device.load(saved(device));
  device.activate(context);
  assert.throws(
    () => make().device.load(saved(device)),
    (error) =>
      error instanceof TsvmError &&
      error.code === 'invalid-state' &&
      /unmount shared directories before saving/.test(error.message),
  );
});
