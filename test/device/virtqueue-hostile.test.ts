/**
 * Hostile drivers of a block device, which break queues: the device needs a reset and works after it,
 * and the disk is untouched. Requests that a device merely fails are in `virtio-block-hostile.test.ts`.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openRawDisk } from '../../vmm/backends/disk/machine/raw-disk.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { BlockDriver, S_OK, T_IN, T_OUT } from '../support/block-driver.ts';
import { pattern, temporaryFolder } from '../support/disk-fixtures.ts';
import { MEMORY_BYTES } from '../support/fake-driver.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { S_NEEDS_RESET } from '../support/mmio-driver.ts';
import { ringBytes, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE } from '../support/split-ring.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const QUEUE_SIZE = 16;
const content = pattern(65536, 1);
const path = join(folder.path, 'disk.img');

/** Opens a new disk for `use`; afterwards it must be as it was. */
async function withDisk(
  use: (driver: BlockDriver) => Promise<void>,
  queueCount = 1,
): Promise<void> {
  writeFileSync(path, content);
  const backend = openRawDisk(path, false, hostFiles());
  const driver = new BlockDriver({ backend, engine: 'threads', queueCount });
  try {
    await use(driver);
  } finally {
    await driver.close();
    backend.close();
  }
  assert.deepEqual(new Uint8Array(readFileSync(path)), content, 'the disk is untouched');
}

function untilItNeedsReset(driver: BlockDriver): Promise<void> {
  return driver.until('DEVICE_NEEDS_RESET', () => {
    return (driver.registers.status & S_NEEDS_RESET) !== 0;
  });
}

testHostileRings('virtio-blk', [0, 1], (context) => {
  writeFileSync(path, content);
  const backend = openRawDisk(path, false, hostFiles());
  const driver = new BlockDriver({ backend, engine: 'threads', queueCount: 2 });
  context.after(async () => {
    await driver.close();
    backend.close();
    assert.deepEqual(new Uint8Array(readFileSync(path)), content, 'the disk is untouched');
  });
  const works = async () => {
    for (const queue of [0, 1]) {
      const answer = await driver.request({ type: T_IN, sector: 1, in: [512], queue });
      assert.equal(answer.status, S_OK);
      assert.deepEqual(answer.data, content.subarray(512, 1024));
    }
  };
  return { driver, works };
});

test('lengths that add up to 4 GiB in a chain as long as the queue', async () => {
  const queueSize = 256;
  await withDisk(async (driver) => {
    await driver.start({ queueSize });
    const flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
    for (let index = 0; index < queueSize - 1; index += 1) {
      driver.ring().writeDescriptor(index, 0, MEMORY_BYTES, flags, index + 1);
    }
    driver.ring().writeDescriptor(queueSize - 1, 0, 1, VRING_DESC_F_WRITE, 0);
    driver.ring().offerHead(0);
    driver.kick();
    await untilItNeedsReset(driver);
    await driver.start();
    assert.equal((await driver.read(0, 512)).status, S_OK);
  });
});

test('overlapping rings harm only their driver', async () => {
  await withDisk(async (driver) => {
    assert.ok(await driver.registers.negotiate());
    const gpa = driver.allocate(4096, 4096);
    driver.memory.slice(gpa, 4096).fill(1);
    driver.registers.setUpQueue(0, {
      size: 16,
      descriptorGpa: gpa,
      availableGpa: gpa,
      usedGpa: gpa,
    });
    driver.registers.driverOk();
    driver.kick();
    await driver.start();
    assert.equal((await driver.read(0, 512)).status, S_OK);
  });
});

test('every word of the rings at random, many times', async () => {
  await withDisk(async (driver) => {
    for (let seed = 0; seed < 100; seed += 1) {
      await driver.start({ queueSize: QUEUE_SIZE });
      const ring = driver.ring();
      const bytes = driver.memory.slice(ring.descriptorGpa, ringBytes(QUEUE_SIZE));
      bytes.set(pattern(bytes.length, seed));
      ring.setAvailableIdx(ring.usedIdx + (seed % (QUEUE_SIZE + 2)));
      driver.kick();
      driver.kick();
    }
    await driver.start();
    assert.equal((await driver.read(0, 512)).status, S_OK);
  });
});

test('a queue broken while another works: both stop, and the reset mends both', async () => {
  await withDisk(async (driver) => {
    await driver.start();
    const out = [content.subarray(0, 512)];
    assert.equal((await driver.request({ type: T_OUT, out, queue: 1 })).status, S_OK);
    driver.ring(0).offerHead(999);
    driver.kick(0);
    await untilItNeedsReset(driver);
    await driver.start();
    for (const queue of [0, 1]) {
      assert.equal((await driver.request({ type: T_IN, in: [512], queue })).status, S_OK);
    }
  }, 2);
});
