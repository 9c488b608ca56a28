/** Script requests: what has no extent waits for the backend, and only that. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import {
  BlockDriver,
  range,
  S_IOERR,
  S_OK,
  S_UNTOUCHED,
  T_DISCARD,
  T_FLUSH,
  T_IN,
  T_OUT,
  T_WRITE_ZEROES,
} from '../support/block-driver.ts';
import { engines, pattern, temporaryFolder, WithholdingBackend } from '../support/disk-fixtures.ts';
import { REG, S_DRIVER_OK } from '../support/mmio-driver.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const SIZE = 65536;
const content = pattern(SIZE, 1);
const SCRIPTED = { flush: true, discard: true, writeZeroes: true };

/** Names of this process's threads. */
function threadNames(): string[] {
  const task = '/proc/self/task';
  return readdirSync(task).map((id) => readFileSync(join(task, id, 'comm'), 'utf8').trim());
}

for (const { engine, skip } of engines()) {
  describe(`script requests, ${engine}`, { skip }, () => {
    async function open(context: TestContext, scripted?: typeof SCRIPTED, queueCount = 1) {
      const path = join(folder.path, `${engine}.img`);
      const backend = new WithholdingBackend(path, content, scripted);
      const driver = new BlockDriver({ backend, engine, queueCount });
      context.after(async () => {
        backend.giveUp(driver.disk);
        await driver.close();
        backend.close();
      });
      await driver.start();
      return {
        backend,
        driver,
        withheld: (count: number) =>
          driver.until(`${count} script requests`, () => backend.withheld.length >= count),
      };
    }

    test('a read waits for its extents; one that has them overtakes it', async (context) => {
      const { driver, backend, withheld } = await open(context);
      driver.disk.pushExtents([backend.extent(0, 4096)]);
      const waiting = driver.submit({ type: T_IN, sector: 6, in: [4096] });
      driver.kick();
      await withheld(1);
      assert.equal((await driver.read(0, 512)).status, S_OK);
      assert.equal(driver.status(waiting), S_UNTOUCHED);
      const request = backend.take();
      assert.equal(request.op, 'read');
      assert.deepEqual([request.offset, request.length], [3072, 4096]);
      assert.equal(request.gapOffset, 4096);
      driver.disk.pushExtents([backend.extent(4096, 4096)]);
      driver.disk.retry(request.id);
      const used = await driver.nextUsed();
      assert.equal(used.id, waiting.head);
      const answer = driver.answer(waiting, used.length);
      assert.equal(answer.status, S_OK);
      assert.deepEqual(answer.data, content.subarray(3072, 7168));
    });

    test('the script may push less than all, and is asked for the rest', async (context) => {
      const { driver, backend, withheld } = await open(context);
      const waiting = driver.submit({ type: T_IN, in: [1024] });
      driver.kick();
      for (const offset of [0, 512]) {
        await withheld(1);
        const request = backend.take();
        assert.equal(request.gapOffset, offset);
        driver.disk.pushExtents([backend.extent(offset, 512)]);
        driver.disk.retry(request.id);
      }
      const used = await driver.nextUsed();
      assert.deepEqual(driver.answer(waiting, used.length).data, content.subarray(0, 1024));
    });

    test('the script may give the data itself', async (context) => {
      const { driver, backend, withheld } = await open(context);
      const waiting = driver.submit({ type: T_IN, sector: 9, in: [100, 924] });
      driver.kick();
      await withheld(1);
      driver.disk.finish(backend.take().id, 0, pattern(1024, 7));
      const used = await driver.nextUsed();
      const answer = driver.answer(waiting, used.length);
      assert.equal(answer.status, S_OK);
      assert.deepEqual(answer.data, pattern(1024, 7));
    });

    test('a write passes its data to the script', async (context) => {
      const { driver, backend, withheld } = await open(context);
      const data = pattern(1536, 3);
      const out = [data.subarray(0, 1000), data.subarray(1000)];
      const waiting = driver.submit({ type: T_OUT, sector: 2, out });
      driver.kick();
      await withheld(1);
      const request = backend.take();
      assert.equal(request.op, 'write');
      assert.deepEqual([request.offset, request.length], [1024, 1536]);
      assert.deepEqual(new Uint8Array(driver.disk.copyWriteData(request.id)), data);
      driver.disk.finish(request.id, 0);
      await driver.nextUsed();
      assert.equal(driver.status(waiting), S_OK);
    });

    test('a write to a read-only extent goes to the script (copy on write)', async (context) => {
      const { driver, backend, withheld } = await open(context);
      driver.disk.pushExtents([backend.extent(0, SIZE, true)]);
      assert.deepEqual((await driver.read(0, 512)).data, content.subarray(0, 512));
      const waiting = driver.submit({ type: T_OUT, out: [pattern(512, 4)] });
      driver.kick();
      await withheld(1);
      const request = backend.take();
      driver.disk.pushExtents([backend.extent(0, 512)]);
      driver.disk.retry(request.id);
      await driver.nextUsed();
      assert.equal(driver.status(waiting), S_OK);
      assert.deepEqual((await driver.read(0, 512)).data, pattern(512, 4));
      assert.deepEqual((await driver.read(1, 512)).data, content.subarray(512, 1024));
    });

    test('a zero extent reads zeroes', async (context) => {
      const { driver, backend } = await open(context);
      driver.disk.pushExtents([{ ...backend.extent(0, 8192), zero: true, readOnly: true }]);
      const { status, data } = await driver.read(1, 4096);
      assert.equal(status, S_OK);
      assert.deepEqual(data, new Uint8Array(4096));
    });

    test('an error of the script is the request’s', async (context) => {
      const { driver, backend, withheld } = await open(context);
      const waiting = driver.submit({ type: T_IN, in: [512] });
      driver.kick();
      await withheld(1);
      driver.disk.finish(backend.take().id, constants.errno.EIO);
      await driver.nextUsed();
      assert.equal(driver.status(waiting), S_IOERR);
    });

    test('flush, discard and write-zeroes go to the script if it requests that', async (context) => {
      const { driver, backend, withheld } = await open(context, SCRIPTED);
      driver.disk.pushExtents([backend.extent(0, SIZE)]);
      const cases = [
        { type: T_FLUSH, out: [], op: 'flush', offset: 0, length: 0 },
        { type: T_DISCARD, out: [range(8, 8)], op: 'discard', offset: 4096, length: 4096 },
        {
          type: T_WRITE_ZEROES,
          out: [range(4, 2)],
          op: 'write-zeroes',
          offset: 2048,
          length: 1024,
        },
      ];
      for (const { type, out, op, offset, length } of cases) {
        const waiting = driver.submit({ type, out });
        driver.kick();
        await withheld(1);
        const request = backend.take();
        assert.deepEqual([request.op, request.offset, request.length], [op, offset, length]);
        assert.equal(driver.status(waiting), S_UNTOUCHED);
        driver.disk.finish(request.id, 0);
        await driver.nextUsed();
        assert.equal(driver.status(waiting), S_OK);
      }
      driver.disk.setScripted({ flush: false, discard: false, writeZeroes: false });
      assert.equal((await driver.request({ type: T_FLUSH })).status, S_OK);
      assert.equal(backend.withheld.length, 0);
    });

    test('withdrawn extents are used no more', async (context) => {
      const { driver, backend, withheld } = await open(context);
      driver.disk.pushExtents([backend.extent(0, SIZE)]);
      assert.equal((await driver.read(8, 512)).status, S_OK);
      await driver.disk.withdrawExtents(4096, 512);
      assert.equal((await driver.read(7, 512)).status, S_OK);
      assert.equal((await driver.read(9, 512)).status, S_OK);
      const waiting = driver.submit({ type: T_IN, sector: 8, in: [512] });
      driver.kick();
      await withheld(1);
      driver.disk.finish(backend.take().id, 0, new Uint8Array(512));
      await driver.nextUsed();
      assert.equal(driver.status(waiting), S_OK);
    });

    test('a reset with requests in flight waits for them; nothing lands afterwards', async (context) => {
      const { driver, backend, withheld } = await open(context);
      const waiting = [0, 1, 2].map((sector) => driver.submit({ type: T_IN, sector, in: [512] }));
      driver.kick();
      await withheld(3);
      assert.ok(threadNames().includes('tsvm-blk'));
      let done = false;
      let reset = Promise.resolve();
      const late = await driver.untilRest(() => {
        reset = Promise.resolve(driver.registers.write(REG.STATUS, 0)).then(() => {
          done = true;
        });
        // A driver must not do this: the chain is taken before the worker sees the stop, or never.
        const submitted = driver.submit({ type: T_IN, sector: 3, in: [512] });
        driver.kick();
        return submitted;
      });
      assert.equal(done, false);
      assert.notEqual(driver.registers.status & S_DRIVER_OK, 0);
      const lateTaken = backend.withheld.length > waiting.length;
      backend.giveUp(driver.disk);
      await reset;
      assert.equal(driver.registers.status, 0);
      for (const request of waiting) assert.equal(driver.status(request), S_IOERR);
      assert.equal(driver.status(late), lateTaken ? S_IOERR : S_UNTOUCHED);
      // The guest uses its memory for something else now: no thread is left that could write to it.
      assert.ok(!threadNames().includes('tsvm-blk'));
      await driver.start();
      driver.disk.pushExtents([backend.extent(0, SIZE)]);
      assert.equal((await driver.read(0, 512)).status, S_OK);
    });

    test('QueueReady = 0 waits for requests in flight, and the other queue continues', async (context) => {
      const { driver, backend, withheld } = await open(context, undefined, 2);
      const read = (sector: number, queue: number) =>
        driver.submit({ type: T_IN, sector, in: [512], queue });
      const waiting = [read(0, 0), read(1, 1)];
      driver.kick(0);
      driver.kick(1);
      await withheld(2);
      let stopped = false;
      let stop = Promise.resolve();
      driver.registers.write(REG.QUEUE_SEL, 0);
      await driver.untilRest(() => {
        stop = Promise.resolve(driver.registers.write(REG.QUEUE_READY, 0)).then(() => {
          stopped = true;
        });
      });
      assert.equal(stopped, false);
      assert.equal(driver.registers.read(REG.QUEUE_READY), 1);
      driver.disk.pushExtents([backend.extent(0, SIZE)]);
      for (const _ of waiting) driver.disk.retry(backend.take().id);
      await stop;
      assert.equal(driver.registers.read(REG.QUEUE_READY), 0);
      for (const [queue, request] of waiting.entries()) {
        assert.equal(driver.status(request), S_OK);
        assert.equal(driver.ring(queue).takeUsed()?.id, request.head);
      }

      const late = read(2, 0);
      driver.kick(0);
      for (let sector = 0; sector < 100; sector += 1) {
        const request = read(sector, 1);
        driver.kick(1);
        const used = await driver.nextUsed(1);
        assert.equal(used.id, request.head);
        const expected = content.subarray(sector * 512, sector * 512 + 512);
        assert.deepEqual(driver.answer(request, used.length).data, expected);
      }
      assert.equal(driver.status(late), S_UNTOUCHED);
      assert.equal(driver.ring(0).usedIdx, 1);
      await driver.start();
      assert.equal((await driver.read(0, 512)).status, S_OK);
    });

    test('many script requests come in batches', async (context) => {
      const { driver, backend, withheld } = await open(context);
      const submitted = [];
      for (let n = 0; n < 16; n += 1) {
        submitted.push(driver.submit({ type: T_IN, sector: n, in: [512] }));
      }
      driver.kick();
      await withheld(16);
      driver.disk.pushExtents([backend.extent(0, SIZE)]);
      for (let n = 0; n < 16; n += 1) driver.disk.retry(backend.take().id);
      for (let n = 0; n < 16; n += 1) await driver.nextUsed();
      submitted.forEach((request, n) => {
        const { status, data } = driver.answer(request, 513);
        assert.equal(status, S_OK);
        assert.deepEqual(data, content.subarray(n * 512, n * 512 + 512));
      });
    });
  });
}
