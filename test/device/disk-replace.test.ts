/** A disk of a running machine gets another image: requests in flight, capacity, data, locks. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import type { DiskBackend } from '../../vmm/backends/disk/machine/disk.ts';
import { openDisk } from '../../vmm/backends/disk/machine/open-disk.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { BlockDriver, S_IOERR, S_OK, T_FLUSH, T_OUT } from '../support/block-driver.ts';
import { engines, pattern, temporaryFolder } from '../support/disk-fixtures.ts';
import { INT_CONFIG, REG } from '../support/mmio-driver.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const SIZE = 2 ** 20;
const SECTOR = 512;
const EIO = 5;
let files = 0;

function newFile(format: 'raw' | 'qcow2', sizeBytes: number): string {
  files += 1;
  const path = join(folder.path, `disk${files}.${format}`);
  if (format === 'raw') writeFileSync(path, pattern(sizeBytes, files));
  else execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(sizeBytes)]);
  return path;
}

function open(path: string, overlay = false): Promise<DiskBackend> {
  return openDisk(path, {
    format: path.endsWith('.qcow2') ? 'qcow2' : 'raw',
    ...{ readOnly: false, overlay, backing: 'same-folder' },
    hostFiles: hostFiles(),
    warn: () => {},
  });
}

function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

/** Sectors, as the driver reads them. */
function capacity(driver: BlockDriver): number {
  return driver.registers.read(REG.CONFIG) + driver.registers.read(REG.CONFIG + 4) * 2 ** 32;
}

for (const { engine, skip } of engines()) {
  describe(`a disk gets another image, ${engine}`, { skip }, () => {
    async function start(context: TestContext, backend: DiskBackend) {
      const driver = new BlockDriver({ backend, engine, queueCount: 2, workerCount: 2 });
      context.after(async () => {
        await driver.close();
        driver.slot.backend.close();
      });
      await driver.start();
      return driver;
    }

    for (const [from, to] of [
      ['raw', 'raw'],
      ['raw', 'qcow2'],
      ['qcow2', 'raw'],
      ['qcow2', 'qcow2'],
    ] as const) {
      test(`${from} to ${to}: data of both, the capacity, and the lock of the old file`, async (context) => {
        const [old, other] = [newFile(from, SIZE), newFile(to, 2 * SIZE)];
        const driver = await start(context, await open(old));
        const first = pattern(4096, 1001);
        assert.equal((await driver.write(8, first)).status, S_OK);
        while (driver.takeInterrupts() > 0);
        driver.registers.write(REG.INTERRUPT_ACK, driver.registers.read(REG.INTERRUPT_STATUS));

        await driver.replace(await open(other));
        assert.equal(capacity(driver), (2 * SIZE) / SECTOR);
        assert.equal((await driver.interrupted()) & INT_CONFIG, INT_CONFIG);
        assert.ok(!openFiles().includes(old), 'the old file is closed');
        const again = await open(old);
        again.close();
        // qemu-img counts from the start of its input, what it skips included.
        const arguments_ = `dd -f ${from} -O raw if=${old} of=${old}.out bs=512 skip=8 count=16`;
        execFileSync('qemu-img', arguments_.split(' '));
        assert.deepEqual(new Uint8Array(readFileSync(`${old}.out`)), first);

        const beyond = SIZE / SECTOR + 16;
        const second = pattern(4096, 1002);
        assert.equal((await driver.write(beyond, second)).status, S_OK);
        assert.deepEqual((await driver.read(beyond, 4096)).data, second);
        const content = (await driver.read(0, 4096)).data;
        const fresh = to === 'raw' ? readFileSync(other).subarray(0, 4096) : new Uint8Array(4096);
        assert.deepEqual(content, new Uint8Array(fresh), 'nothing of the old disk is left');
        assert.equal((await driver.request({ type: T_FLUSH })).status, S_OK);
        assert.deepEqual(driver.scriptErrors, []);
      });
    }

    test('requests in flight land in the old file, later ones in the new, on both queues', async (context) => {
      const paths = [newFile('raw', SIZE), newFile('raw', SIZE)];
      const [old = '', other = ''] = paths;
      const driver = await start(context, await open(old));
      const submitted = [];
      for (let n = 0; n < 32; n += 1) {
        const out = [pattern(4096, 2000 + n)];
        submitted.push(driver.submit({ type: T_OUT, sector: n * 8, out, queue: n % 2 }));
      }
      driver.kick(0);
      driver.kick(1);
      const replaced = driver.replace(await open(other));
      const late = pattern(512, 3000);
      const waiting = driver.submit({ type: T_OUT, sector: 1000, out: [late], queue: 1 });
      driver.kick(1);
      await replaced;
      for (const { queue } of [...submitted, waiting]) await driver.nextUsed(queue);
      for (const one of [...submitted, waiting]) assert.equal(driver.status(one), S_OK);
      // Each write is in one of the files, whole, whichever; those after the exchange in the new one.
      const [oldBytes, newBytes] = [readFileSync(old), readFileSync(other)];
      for (let n = 0; n < 32; n += 1) {
        const at = n * 4096;
        const data = Buffer.from(pattern(4096, 2000 + n));
        const inOld = oldBytes.subarray(at, at + 4096).equals(data);
        const inNew = newBytes.subarray(at, at + 4096).equals(data);
        assert.ok(inOld !== inNew, `write ${n}`);
      }
      const after = await driver.write(1001, late);
      assert.equal(after.status, S_OK);
      assert.deepEqual(
        new Uint8Array(readFileSync(other).subarray(1001 * SECTOR, 1002 * SECTOR)),
        late,
      );
    });

    test('a smaller disk: requests beyond its end fail, and change no file', async (context) => {
      const [old, other] = [newFile('raw', SIZE), newFile('raw', SIZE / 2)];
      const driver = await start(context, await open(old));
      const before = readFileSync(old);
      await driver.replace(await open(other));
      assert.equal(capacity(driver), SIZE / 2 / SECTOR);
      const beyond = await driver.write(SIZE / 2 / SECTOR, pattern(512, 5));
      assert.equal(beyond.status, S_IOERR);
      assert.equal((await driver.read(SIZE / SECTOR - 1, 512)).status, S_IOERR);
      assert.deepEqual(readFileSync(old), before);
      assert.equal(readFileSync(other).length, SIZE / 2);
    });

    test('an old image that cannot be flushed stays, with the guest’s data', async (context) => {
      const [old, other] = [newFile('raw', SIZE), newFile('raw', 2 * SIZE)];
      const backend = await open(old);
      const driver = await start(context, backend);
      const error = Object.assign(new Error('the host’s disk fails'), { errno: EIO });
      backend.flush = () => Promise.reject(error);
      const refused = await open(other);
      await assert.rejects(driver.replace(refused), error);
      refused.close();
      assert.equal(driver.slot.backend, backend);
      assert.equal(capacity(driver), SIZE / SECTOR);
      const data = pattern(512, 7);
      assert.equal((await driver.write(3, data)).status, S_OK);
      assert.deepEqual((await driver.read(3, 512)).data, data);
    });

    test('an overlay is dropped with its writes; the counters go on', async (context) => {
      const [old, other] = [newFile('raw', SIZE), newFile('raw', SIZE)];
      const before = readFileSync(old);
      const driver = await start(context, await open(old, true));
      assert.equal((await driver.write(0, pattern(512, 8))).status, S_OK);
      await driver.replace(await open(other, true));
      const { data } = await driver.read(0, 512);
      assert.deepEqual(data, new Uint8Array(readFileSync(other).subarray(0, 512)));
      assert.deepEqual(readFileSync(old), before);
      const { reads, writes } = driver.device.statistics();
      assert.deepEqual({ reads, writes }, { reads: 1, writes: 1 });
    });

    test('a driver that resets and starts while the image is replaced is served by the new one', async (context) => {
      const [old, other] = [newFile('qcow2', SIZE), newFile('raw', SIZE)];
      const driver = await start(context, await open(old));
      assert.equal((await driver.write(0, pattern(512, 9))).status, S_OK);
      const replaced = driver.replace(await open(other));
      await driver.transport.reset();
      await driver.start();
      await replaced;
      const { data } = await driver.read(0, 512);
      assert.deepEqual(data, new Uint8Array(readFileSync(other).subarray(0, 512)));
    });
  });
}

test('a new file that is in use is refused before anything happens', async (context) => {
  const path = newFile('raw', SIZE);
  const holder = await open(path);
  context.after(() => holder.close());
  await assert.rejects(open(path), { code: 'disk-locked' });
});
