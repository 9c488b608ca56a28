import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bus } from '../../../vmm/bus/bus.ts';

test('accesses reach the handler of their bank', () => {
  const bus = new Bus();
  const writes: unknown[] = [];
  bus.attach(3, {
    read: (offset, width) => offset * 16 + width,
    write: (...access) => {
      writes.push(access);
    },
  });
  assert.deepEqual(bus.read({ bank: 3, offset: 2, width: 1 }), [0x21, 0]);
  assert.equal(bus.write({ bank: 3, offset: 4, width: 2 }, 7, 0), undefined);
  assert.deepEqual(writes, [[4, 2, 7]]);
});

test('an access of 64 bits is two of 32, the second after the first is done', async () => {
  const bus = new Bus();
  const order: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  bus.attach(0, {
    read: (offset) => offset,
    write: (offset, width, value) => {
      order.push(`${offset} ${width} ${value}`);
      return offset === 0 ? promise : undefined;
    },
  });
  assert.deepEqual(bus.read({ bank: 0, offset: 8, width: 8 }), [8, 12]);
  const done = bus.write({ bank: 0, offset: 0, width: 8 }, 1, 2);
  assert.deepEqual(order, ['0 4 1']);
  resolve();
  await done;
  assert.deepEqual(order, ['0 4 1', '4 4 2']);
});

test('a bank without a handler reads high and swallows writes', () => {
  const bus = new Bus();
  assert.deepEqual(bus.read({ bank: 9, offset: 0, width: 1 }), [0xff, 0xff]);
  assert.deepEqual(bus.read({ bank: 9, offset: 0, width: 8 }), [0xffffffff, 0xffffffff]);
  assert.equal(bus.write({ bank: 9, offset: 0, width: 4 }, 1, 0), undefined);
});
