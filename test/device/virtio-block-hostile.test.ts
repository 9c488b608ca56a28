/** The block lines of the threat model: a request that asks for too much fails, and nothing else. */
import assert from 'node:assert/strict';
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openRawDisk } from '../../vmm/backends/disk/machine/raw-disk.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import {
  BlockDriver,
  S_IOERR,
  S_OK,
  T_FLUSH,
  T_GET_ID,
  T_IN,
  T_OUT,
} from '../support/block-driver.ts';
import { engines, pattern, temporaryFolder } from '../support/disk-fixtures.ts';
import { hostileBlockRequests } from '../support/hostile-requests.ts';
import { S_NEEDS_RESET } from '../support/mmio-driver.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const SECTORS = 128;
const content = pattern(SECTORS * 512, 1);

for (const { engine, skip } of engines()) {
  describe(`virtio-blk against a hostile driver, ${engine}`, { skip }, () => {
    async function withDisk(use: (driver: BlockDriver) => Promise<void>): Promise<void> {
      const path = join(folder.path, `${engine}.img`);
      writeFileSync(path, content);
      const backend = openRawDisk(path, false, hostFiles());
      const driver = new BlockDriver({ backend, engine });
      try {
        await driver.start();
        await use(driver);
        assert.equal((await driver.read(0, 512)).status, S_OK, 'it still works');
        assert.equal(driver.registers.status & S_NEEDS_RESET, 0);
      } finally {
        await driver.close();
        backend.close();
      }
      assert.deepEqual(new Uint8Array(readFileSync(path)), content, 'the disk is untouched');
    }

    test('requests that cannot be served fail, each with its status', async (context) => {
      await withDisk(async (driver) => {
        for (const { id, type, status, sector, out, inBytes } of hostileBlockRequests(SECTORS)) {
          await context.test(id, async () => {
            const answer = await driver.request({
              type,
              sector,
              out: out.length > 0 ? [out] : [],
              in: inBytes > 0 ? [inBytes] : [],
            });
            assert.equal(answer.status, status);
            assert.equal(answer.usedLength, 1);
            assert.ok(
              answer.data.every((byte) => byte === 0xcc),
              'no data',
            );
          });
        }
        const { errors } = driver.device.statistics();
        assert.equal(errors, hostileBlockRequests(SECTORS).length);
      });
    });

    test('a header in one byte per descriptor, and data too', async () => {
      await withDisk(async (driver) => {
        const header = driver.header(T_IN, 3);
        const bytes = Array.from({ length: 16 }, (_, at) => ({ gpa: header.gpa + at, length: 1 }));
        const data = Array.from({ length: 32 }, () => ({
          gpa: driver.allocate(16),
          length: 16,
          writable: true,
        }));
        const statusGpa = driver.allocate(1);
        const chain = [...bytes, ...data, { gpa: statusGpa, length: 1, writable: true }];
        driver.ring().addChain(chain);
        driver.kick();
        await driver.nextUsed();
        const answer = driver.answer({ head: 0, queue: 0, statusGpa, in: data }, 513);
        assert.equal(answer.status, S_OK);
        assert.deepEqual(answer.data, content.subarray(3 * 512, 4 * 512));
      });
    });

    test('zero-length buffers', async () => {
      await withDisk(async (driver) => {
        const header = driver.header(T_IN, 1);
        const data = { gpa: driver.allocate(512), length: 512, writable: true };
        const statusGpa = driver.allocate(1);
        driver
          .ring()
          .addChain([
            { gpa: 0, length: 0 },
            header,
            { gpa: 0, length: 0, writable: true },
            data,
            { gpa: statusGpa, length: 1, writable: true },
          ]);
        driver.kick();
        await driver.nextUsed();
        assert.equal(driver.memory.slice(statusGpa, 1)[0], S_OK);
        assert.deepEqual(driver.memory.slice(data.gpa, 512), content.subarray(512, 1024));
      });
    });

    test('a missing status byte, a missing header or an empty chain: the head is returned', async () => {
      await withDisk(async (driver) => {
        const ring = driver.ring();
        const chains = [
          [driver.header(T_FLUSH, 0)],
          [{ gpa: driver.allocate(1), length: 1, writable: true }],
          [{ gpa: driver.allocate(15), length: 15 }],
          [{ gpa: driver.allocate(1), length: 0 }],
        ];
        for (const chain of chains) {
          const head = ring.addChain(chain);
          driver.kick();
          assert.equal((await driver.nextUsed()).id, head);
        }
      });
    });

    test('data of the wrong direction or size', async () => {
      await withDisk(async (driver) => {
        const sector = pattern(512, 2);
        // A transfer of nothing may succeed.
        const wrongWay = [
          { type: T_IN, out: [sector] },
          { type: T_OUT, in: [512] },
        ];
        for (const request of wrongWay) {
          const { status, data } = await driver.request(request);
          assert.ok(status === S_OK || status === S_IOERR);
          assert.ok(data.every((byte) => byte === 0xcc));
        }
        const short = await driver.request({ type: T_GET_ID, in: [4] });
        assert.deepEqual(short.data, Uint8Array.from(Buffer.from('test')));
        const long = await driver.request({ type: T_GET_ID, in: [4096] });
        assert.equal(
          long.data.subarray(20).every((byte) => byte === 0xcc || byte === 0),
          true,
        );
      });
    });

    test('2^32 sectors and more', async (context) => {
      const path = join(folder.path, `${engine}-large.img`);
      const fd = openSync(path, 'w');
      const sector = 2 ** 32 + 7;
      try {
        ftruncateSync(fd, (sector + 1) * 512);
      } catch {
        closeSync(fd);
        context.skip('the file system takes no file of 2 TiB');
        return;
      }
      writeSync(fd, pattern(512, 3), 0, 512, sector * 512);
      closeSync(fd);
      const backend = openRawDisk(path, false, hostFiles());
      const driver = new BlockDriver({ backend, engine });
      context.after(async () => {
        await driver.close();
        backend.close();
      });
      await driver.start();
      assert.deepEqual((await driver.read(sector, 512)).data, pattern(512, 3));
      assert.equal((await driver.read(sector + 1, 512)).status, S_IOERR);
      assert.equal((await driver.write(sector, pattern(512, 4))).status, S_OK);
      assert.deepEqual((await driver.read(7, 512)).data, new Uint8Array(512), 'nothing wrapped');
    });
  });
}
