import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  QueueWorkerDevice,
  type WorkerDivision,
} from '../../../../vmm/devices/virtio/queue-worker.ts';
import { StubQueueWorker } from '../../../support/stub-virtio-device.ts';

const EVENT_IDX = 1n << 29n;

class Device extends QueueWorkerDevice {
  hold(action: () => Promise<void>): Promise<void> {
    return this.whileStopped(action);
  }

  announce(): void {
    this.configChanged();
  }
}

/** Lets pending promises be handled. */
const immediately = () => new Promise((next) => setImmediate(next));

function setUp(division?: WorkerDivision) {
  const workers: StubQueueWorker[] = [];
  const device = new Device((onBroken) => {
    const worker = new StubQueueWorker(onBroken);
    workers.push(worker);
    return worker;
  }, division);
  const [worker] = workers;
  assert.ok(worker);
  const reasons: string[] = [];
  const changes = { count: 0 };
  const activate = (count: number) =>
    device.activate({
      features: EVENT_IDX | 5n,
      queues: Array.from({ length: count }, (_, index) => ({
        index,
        size: 8,
        descriptorGpa: 0x1000 * index,
        availableGpa: 0x1000 * index + 0x400,
        usedGpa: 0x1000 * index + 0x800,
      })),
      configChanged: () => {
        changes.count += 1;
      },
      needsReset: (reason) => reasons.push(reason),
    });
  /** The queues of a worker's starts, by index. */
  const starts = (of = worker) => of.starts.map(({ queues }) => queues.map(({ index }) => index));
  return { device, worker, workers, reasons, changes, activate, starts };
}

/** Makes the worker's stops wait; answers how to let them end. */
function holdStops(worker: StubQueueWorker): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  worker.inFlight = promise;
  return resolve;
}

test('stopping a queue restarts the worker with the other queues', async () => {
  const { device, worker, activate, starts } = setUp();
  activate(3);
  const release = holdStops(worker);
  const stop = device.stopQueue(1);
  await immediately();
  assert.deepEqual(starts(), [[0, 1, 2]], 'not before nothing is in flight');
  release();
  await stop;
  assert.deepEqual(starts(), [
    [0, 1, 2],
    [0, 2],
  ]);
  assert.deepEqual({ ...worker.starts[1], queues: [] }, { ...worker.starts[0], queues: [] });
});

test('queues stopped concurrently by several vCPUs: the worker restarts once, without them', async () => {
  const { device, worker, activate, starts } = setUp();
  activate(4);
  const release = holdStops(worker);
  const stops = [2, 0, 2].map((index) => device.stopQueue(index));
  release();
  await Promise.all(stops);
  assert.deepEqual(starts(), [
    [0, 1, 2, 3],
    [1, 3],
  ]);
});

test('a reset while a queue stops: the worker does not go on, and the next activation is whole', async () => {
  const { device, worker, activate, starts } = setUp();
  activate(2);
  const release = holdStops(worker);
  const stop = device.stopQueue(0);
  const reset = device.reset();
  release();
  await Promise.all([stop, reset]);
  assert.deepEqual(starts(), [[0, 1]]);
  activate(2);
  await device.stopQueue(1);
  assert.deepEqual(starts(), [[0, 1], [0, 1], [0]]);
  await device.reset();
  await device.stopQueue(0);
  assert.equal(starts().length, 3, 'after a reset nothing starts');
});

test('a worker that cannot go on: the device needs a reset', async () => {
  const { device, worker, activate, reasons } = setUp();
  activate(2);
  worker.failStart = new Error('no memory');
  await device.stopQueue(0);
  assert.deepEqual(reasons, ['no memory']);
});

test('a quiesced device serves nothing until it is activated again', async () => {
  const { device, activate, starts } = setUp();
  await device.quiesce();
  activate(3);
  await device.quiesce();
  await device.quiesce();
  assert.deepEqual(starts(), [[0, 1, 2]], 'nothing starts while it is quiesced');
  activate(2);
  assert.deepEqual(starts(), [
    [0, 1, 2],
    [0, 1],
  ]);
});

test('several workers: each has its queues, and stops alone', async () => {
  const pairs = { workers: 2, workerOf: (queue: number) => queue >> 1 };
  const { device, workers, activate, starts } = setUp(pairs);
  const [first, second] = workers;
  assert.ok(first && second && workers.length === 2);
  activate(3);
  assert.deepEqual(starts(first), [[0, 1]]);
  assert.deepEqual(starts(second), [[2]]);
  await device.stopQueue(2);
  assert.equal(first.stops, 0);
  assert.deepEqual(starts(second), [[2]], 'a worker without queues does not start');
  await device.stopQueue(0);
  assert.deepEqual(starts(first), [[0, 1], [1]]);
  assert.deepEqual(device.statistics(), { requests: 3 });
  await device.reset();
  assert.deepEqual([first.stops, second.stops], [2, 2]);
});

describe('an action while the workers are stopped', () => {
  test('nothing is in flight meanwhile, and the same queues go on afterwards', async () => {
    const { device, worker, activate, starts } = setUp();
    activate(2);
    const release = holdStops(worker);
    let began = false;
    const action = Promise.withResolvers<void>();
    const done = device.hold(() => {
      began = true;
      return action.promise;
    });
    await immediately();
    assert.equal(began, false, 'not before nothing is in flight');
    release();
    await immediately();
    assert.equal(began, true);
    assert.equal(starts().length, 1);
    await assert.rejects(
      device.hold(async () => {}),
      /stopped already/,
    );
    action.resolve();
    await done;
    assert.deepEqual(starts(), [
      [0, 1],
      [0, 1],
    ]);
  });

  test('a failed action is reported, and the queues go on', async () => {
    const { device, activate, starts } = setUp();
    activate(1);
    await assert.rejects(
      device.hold(() => Promise.reject(new Error('no'))),
      /no/,
    );
    assert.equal(starts().length, 2);
  });

  test('a driver that starts meanwhile is served afterwards, with a queue less if it stops one', async () => {
    const { device, activate, starts } = setUp();
    const action = Promise.withResolvers<void>();
    const done = device.hold(() => action.promise);
    await immediately();
    activate(2);
    await device.stopQueue(0);
    assert.deepEqual(starts(), []);
    action.resolve();
    await done;
    assert.deepEqual(starts(), [[1]]);
  });

  test('a reset and a pause wait for it, and nothing starts before the next activation', async () => {
    for (const end of ['reset', 'quiesce'] as const) {
      const { device, activate, starts, changes } = setUp();
      activate(1);
      const action = Promise.withResolvers<void>();
      const done = device.hold(async () => {
        await action.promise;
        device.announce();
      });
      await immediately();
      let ended = false;
      const ending = device[end]().then(() => {
        ended = true;
      });
      await immediately();
      assert.equal(ended, false, end);
      action.resolve();
      await Promise.all([done, ending]);
      assert.equal(starts().length, 1, end);
      assert.equal(changes.count, 0, 'a quiesced device sends no interrupt');
      activate(1);
      assert.equal(starts().length, 2, end);
      assert.equal(changes.count, end === 'quiesce' ? 1 : 0, 'a new driver reads what is new');
    }
  });

  test('a device whose queue is broken stays stopped', async () => {
    const { device, worker, activate, starts, reasons } = setUp();
    activate(1);
    worker.breakQueue('a loop');
    await device.hold(async () => {});
    assert.equal(starts().length, 1);
    assert.deepEqual(reasons, ['a loop']);
  });
});
