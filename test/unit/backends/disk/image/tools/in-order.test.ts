import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inOrder } from '../../../../../../vmm/backends/disk/image/tools/in-order.ts';

async function collect<T>(results: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const result of results) all.push(result);
  return all;
}

test('results come in the order of the items, and no more than asked for are started', async () => {
  let running = 0;
  let most = 0;
  const work = async (item: number) => {
    running++;
    most = Math.max(most, running);
    await sleep(item % 2 === 0 ? 5 : 1);
    running--;
    return item * 10;
  };
  assert.deepEqual(
    await collect(inOrder([1, 2, 3, 4, 5, 6, 7], 3, work)),
    [10, 20, 30, 40, 50, 60, 70],
  );
  assert.equal(most, 3);
  assert.deepEqual(await collect(inOrder([], 3, work)), []);
});

test('an error is reported in order, after all started work has ended', async () => {
  let running = 0;
  const work = async (item: number) => {
    running++;
    await sleep(item === 1 ? 1 : 10);
    running--;
    if (item !== 1) throw new Error(`item ${item}`);
    return item;
  };
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const result of inOrder([1, 2, 3, 4], 4, work)) seen.push(result);
  }, /item 2/);
  assert.deepEqual(seen, [1]);
  assert.equal(running, 0);
});

test('a caller that leaves early waits for what was started', async () => {
  let running = 0;
  const work = async () => {
    running++;
    await sleep(5);
    running--;
  };
  for await (const _ of inOrder([1, 2, 3, 4, 5], 3, work)) break;
  assert.equal(running, 0);
});
