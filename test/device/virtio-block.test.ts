/** The block device as a whole, with its native queue worker and a file: what a driver sees. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { openRawDisk } from '../../vmm/backends/disk/machine/raw-disk.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import {
  BlockDriver,
  range,
  S_IOERR,
  S_OK,
  S_UNSUPP,
  T_DISCARD,
  T_FLUSH,
  T_GET_ID,
  T_IN,
  T_OUT,
  T_WRITE_ZEROES,
} from '../support/block-driver.ts';
import { engines, pattern, temporaryFolder } from '../support/disk-fixtures.ts';
import { HIGH_GPA } from '../support/fake-driver.ts';
import { INT_VRING, REG, S_DRIVER_OK, S_NEEDS_RESET } from '../support/mmio-driver.ts';
import { ringBytes, SplitRing } from '../support/split-ring.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const VERSION_1 = 1n << 32n;
const EVENT_IDX = 1n << 29n;
const INDIRECT = 1n << 28n;
const SIZE = 2 ** 20;
let files = 0;

for (const { engine, skip } of engines()) {
  describe(`virtio-blk, ${engine}`, { skip }, () => {
    function open(
      context: TestContext,
      options: {
        content?: Uint8Array;
        readOnly?: boolean;
        queueCount?: number;
        workerCount?: number;
      } = {},
    ) {
      files += 1;
      const path = join(folder.path, `disk${files}.img`);
      writeFileSync(path, options.content ?? pattern(SIZE, 1));
      const backend = openRawDisk(path, options.readOnly ?? false, hostFiles());
      const driver = new BlockDriver({
        backend,
        engine,
        queueCount: options.queueCount ?? 1,
        workerCount: options.workerCount ?? 1,
        serialId: 'disk-under-test',
      });
      context.after(async () => {
        await driver.close();
        backend.close();
      });
      return { path, driver };
    }

    test('reads return the file’s content, in one buffer and in pieces', async (context) => {
      const { driver, path } = open(context);
      await driver.start();
      const file = readFileSync(path);
      const one = await driver.read(8, 4096);
      assert.equal(one.status, S_OK);
      assert.equal(one.usedLength, 4097, 'data and status');
      assert.deepEqual(one.data, new Uint8Array(file.subarray(4096, 8192)));
      const pieces = await driver.request({ type: T_IN, sector: 3, in: [512, 1, 511, 2048] });
      assert.equal(pieces.status, S_OK);
      assert.deepEqual(pieces.data, new Uint8Array(file.subarray(1536, 1536 + 3072)));
    });

    test('writes land in the file and nowhere else', async (context) => {
      const { driver, path } = open(context);
      await driver.start();
      const expected = new Uint8Array(readFileSync(path));
      const data = pattern(8192, 2);
      expected.set(data, 512 * 5);
      const out = [data.subarray(0, 100), data.subarray(100, 8000), data.subarray(8000)];
      const answer = await driver.request({ type: T_OUT, sector: 5, out });
      assert.deepEqual([answer.status, answer.usedLength], [S_OK, 1]);
      assert.equal((await driver.request({ type: T_FLUSH })).status, S_OK);
      assert.deepEqual(new Uint8Array(readFileSync(path)), expected);
    });

    test('the first and the last sector', async (context) => {
      const { driver, path } = open(context);
      await driver.start();
      const last = SIZE / 512 - 1;
      assert.equal((await driver.write(last, pattern(512, 3))).status, S_OK);
      assert.equal((await driver.write(0, pattern(512, 4))).status, S_OK);
      assert.deepEqual((await driver.read(last, 512)).data, pattern(512, 3));
      assert.deepEqual(new Uint8Array(readFileSync(path).subarray(0, 512)), pattern(512, 4));
      assert.equal(statSync(path).size, SIZE);
    });

    test('GET_ID returns the serial, padded with zeroes', async (context) => {
      const { driver } = open(context);
      await driver.start();
      const { status, data } = await driver.request({ type: T_GET_ID, in: [20] });
      assert.equal(status, S_OK);
      assert.equal(Buffer.from(data).toString('latin1'), 'disk-under-test'.padEnd(20, '\0'));
    });

    test('WRITE_ZEROES and DISCARD: zeroes, and the file becomes sparse', async (context) => {
      const { driver, path } = open(context);
      await driver.start();
      const expected = new Uint8Array(readFileSync(path)).fill(0, 4096, 12288);
      const before = statSync(path).blocks;
      const zeroed = await driver.request({ type: T_WRITE_ZEROES, out: [range(8, 16)] });
      assert.equal(zeroed.status, S_OK);
      assert.deepEqual(new Uint8Array(readFileSync(path)), expected);
      const discarded = await driver.request({ type: T_DISCARD, out: [range(256, 1024)] });
      assert.equal(discarded.status, S_OK);
      expected.fill(0, 256 * 512, 1280 * 512);
      assert.deepEqual(new Uint8Array(readFileSync(path)), expected);
      assert.ok(statSync(path).blocks < before, 'the hole takes no space');
      assert.equal(statSync(path).size, SIZE);
    });

    for (const workerCount of [1, 3, 4]) {
      test(`4 queues with ${workerCount} workers, all at once, against a model`, async (context) => {
        const queueCount = 4;
        const { driver, path } = open(context, { queueCount, workerCount });
        await driver.start({ queueSize: 32 });
        const model = new Uint8Array(readFileSync(path));
        const slot = SIZE / queueCount;
        for (let round = 0; round < 20; round += 1) {
          const submitted = [];
          for (let queue = 0; queue < queueCount; queue += 1) {
            for (let n = 0; n < 8; n += 1) {
              const offset = queue * slot + ((round * 8 + n) % 128) * 2048;
              const data = pattern(1024, round * 100 + queue * 10 + n);
              model.set(data, offset);
              submitted.push(
                driver.submit({
                  type: T_OUT,
                  sector: offset / 512,
                  out: [data],
                  queue,
                  indirect: n % 2 === 0,
                }),
              );
            }
            driver.kick(queue);
          }
          for (const { queue } of submitted) await driver.nextUsed(queue);
          for (const request of submitted) assert.equal(driver.status(request), S_OK);
        }
        assert.deepEqual(new Uint8Array(readFileSync(path)), model);
      });
    }

    test('every descriptor of a full ring is returned once, for many turns of the ring', async (context) => {
      const { driver, path } = open(context);
      await driver.start({ queueSize: 16 });
      const file = readFileSync(path);
      for (let turn = 0; turn < 50; turn += 1) {
        const heads = new Map<number, ReturnType<BlockDriver['submit']>>();
        for (let n = 0; n < 5; n += 1) {
          const request = driver.submit({ type: T_IN, sector: turn * 5 + n, in: [512] });
          heads.set(request.head, request);
        }
        driver.kick();
        while (heads.size > 0) {
          const { id, length } = await driver.nextUsed();
          const request = heads.get(id);
          assert.ok(request, `head ${id} was in flight`);
          heads.delete(id);
          assert.equal(driver.answer(request, length).status, S_OK);
        }
      }
      const sample = await driver.read(249, 512);
      assert.deepEqual(sample.data, new Uint8Array(file.subarray(249 * 512, 250 * 512)));
    });

    test('indirect descriptors, up to the longest chain', async (context) => {
      const { driver, path } = open(context);
      await driver.start({ features: VERSION_1 | INDIRECT, queueSize: 256 });
      const file = readFileSync(path);
      const lengths = new Array<number>(254).fill(512);
      const { status, data } = await driver.request({ type: T_IN, in: lengths, indirect: true });
      assert.equal(status, S_OK);
      assert.deepEqual(data, new Uint8Array(file.subarray(0, 254 * 512)));
    });

    test('an interrupt follows a completion, with its bit set first', async (context) => {
      const { driver } = open(context);
      await driver.start({ features: VERSION_1 });
      const request = driver.submit({ type: T_IN, in: [512] });
      driver.kick();
      assert.equal(await driver.interrupted(), INT_VRING);
      assert.equal((await driver.nextUsed()).id, request.head);
      assert.equal(driver.registers.read(REG.INTERRUPT_STATUS), 0);
    });

    test('a driver that wants no interrupts gets none', async (context) => {
      const { driver } = open(context);
      await driver.start({ features: VERSION_1 });
      driver.ring().setNoInterrupt(true);
      await driver.untilRest(() => driver.read(0, 512));
      assert.equal(driver.takeInterrupts(), 0);
      driver.ring().setNoInterrupt(false);
      driver.submit({ type: T_IN, in: [512] });
      driver.kick();
      assert.equal(await driver.interrupted(), INT_VRING);
    });

    test('EVENT_IDX: the interrupt comes at the entry that was asked for, and no other', async (context) => {
      const { driver } = open(context);
      await driver.start({ features: VERSION_1 | EVENT_IDX });
      driver.ring().setUsedEvent(3);
      for (let n = 0; n < 3; n += 1) await driver.untilRest(() => driver.read(n, 512));
      assert.equal(driver.takeInterrupts(), 0, 'not before');
      await driver.untilRest(() => driver.read(3, 512));
      await driver.until('the interrupt', () => driver.takeInterrupts() > 0);
      await driver.untilRest(() => driver.read(4, 512));
      assert.equal(driver.takeInterrupts(), 0, 'nor after');
      await driver.until('the wish for a kick', () => driver.ring().availableEvent === 5);
    });

    test('a read-only disk: writes fail, and the file does not change', async (context) => {
      const { driver, path } = open(context, { readOnly: true });
      await driver.start();
      assert.notEqual(driver.registers.deviceFeatures() & (1n << 5n), 0n);
      const before = readFileSync(path);
      assert.equal((await driver.read(0, 512)).status, S_OK);
      assert.equal((await driver.write(0, pattern(512, 9))).status, S_IOERR);
      for (const type of [T_DISCARD, T_WRITE_ZEROES]) {
        const { status } = await driver.request({ type, out: [range(0, 8)] });
        assert.ok(status === S_IOERR || status === S_UNSUPP, `type ${type}: ${status}`);
      }
      assert.deepEqual(readFileSync(path), before);
    });

    test('rings and buffers above 4 GiB', async (context) => {
      const { driver, path } = open(context);
      assert.ok(await driver.registers.negotiate());
      const ring = new SplitRing(driver.memory, HIGH_GPA, 16);
      driver.rings.push(ring);
      driver.registers.setUpQueue(0, ring);
      driver.registers.driverOk();
      const data = { gpa: HIGH_GPA + ringBytes(16), length: 4096, writable: true };
      const statusGpa = driver.allocate(1);
      ring.addChain([driver.header(T_IN, 16), data, { gpa: statusGpa, length: 1, writable: true }]);
      driver.kick();
      await driver.nextUsed();
      assert.equal(driver.memory.slice(statusGpa, 1)[0], S_OK);
      const expected = new Uint8Array(readFileSync(path).subarray(8192, 12288));
      assert.deepEqual(new Uint8Array(driver.memory.slice(data.gpa, 4096)), expected);
    });

    test('a file whose length is not a multiple of 512: padded for reads, grown by a write', async (context) => {
      const { driver, path } = open(context, { content: pattern(1000, 5) });
      await driver.start();
      const padded = new Uint8Array(1024);
      padded.set(pattern(1000, 5));
      assert.deepEqual((await driver.read(0, 1024)).data, padded);
      assert.deepEqual((await driver.read(1, 512)).data, padded.subarray(512));
      assert.equal(statSync(path).size, 1000, 'reading changes nothing');
      const data = pattern(1024, 6);
      assert.equal((await driver.write(0, data)).status, S_OK);
      assert.deepEqual(new Uint8Array(readFileSync(path)), data);
      assert.deepEqual(driver.scriptErrors, []);
    });

    test('a file that was cut short under us fails its requests, and nothing more', async (context) => {
      const { driver, path } = open(context);
      await driver.start();
      truncateSync(path, 4096);
      assert.equal((await driver.read(0, 4096)).status, S_OK);
      assert.equal((await driver.read(64, 4096)).status, S_IOERR, 'zeroes would hide the loss');
      assert.equal((await driver.read(0, 512)).status, S_OK);
    });

    test('start, reset and start again: the second driver finds a new device', async (context) => {
      const { driver } = open(context);
      for (let round = 0; round < 3; round += 1) {
        await driver.start();
        assert.equal((await driver.read(round, 512)).status, S_OK);
        await driver.registers.write(REG.STATUS, 0);
      }
      await driver.start();
      assert.equal(driver.registers.status & (S_DRIVER_OK | S_NEEDS_RESET), S_DRIVER_OK);
      assert.deepEqual(driver.guestErrors, []);
    });
  });
}
