/**
 * The virtqueue lines of the threat model, against a block device as a whole: the device needs a
 * reset and says so by an interrupt, the process lives, the disk is untouched, and after a reset the
 * device works.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openRawDisk } from '../../vmm/backends/disk/machine/raw-disk.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { BlockDriver, S_OK, T_IN, T_OUT } from '../support/block-driver.ts';
import { pattern, temporaryFolder } from '../support/disk-fixtures.ts';
import { HIGH_GPA, MEMORY_BYTES } from '../support/fake-driver.ts';
import {
  INT_CONFIG,
  type RingAddresses,
  S_DRIVER_OK,
  S_NEEDS_RESET,
} from '../support/mmio-driver.ts';
import {
  ringBytes,
  type SplitRing,
  VRING_DESC_F_INDIRECT,
  VRING_DESC_F_NEXT,
  VRING_DESC_F_WRITE,
} from '../support/split-ring.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const QUEUE_SIZE = 16;
const VERSION_1 = 1n << 32n;
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

/** Runs `attack` against a new device, and checks that it did no more than break its own queue. */
function survives(
  attack: (driver: BlockDriver) => void | Promise<void>,
  options: { features?: bigint; queueSize?: number } = {},
): Promise<void> {
  return withDisk(async (driver) => {
    await driver.start({ queueSize: QUEUE_SIZE, ...options });
    await attack(driver);
    driver.kick();
    await untilItNeedsReset(driver);
    assert.equal((await driver.interrupted()) & INT_CONFIG, INT_CONFIG);
    assert.equal(driver.guestErrors.length, 1);
    // Nothing is served any more.
    driver.kick();
    assert.equal(driver.registers.status & S_DRIVER_OK, S_DRIVER_OK);
    await driver.start();
    const answer = await driver.read(1, 512);
    assert.equal(answer.status, S_OK);
    assert.deepEqual(answer.data, content.subarray(512, 1024));
  });
}

/** The descriptors of a read of one sector, from index 0 on, as they should be; then `spoil`. */
function spoiledChain(spoil: (ring: SplitRing, gpas: readonly number[]) => void) {
  return (driver: BlockDriver) => {
    const ring = driver.ring();
    const header = driver.header(T_IN, 0).gpa;
    const data = driver.allocate(512);
    const status = driver.allocate(1);
    ring.writeDescriptor(0, header, 16, VRING_DESC_F_NEXT, 1);
    ring.writeDescriptor(1, data, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
    ring.writeDescriptor(2, status, 1, VRING_DESC_F_WRITE, 0);
    spoil(ring, [header, data, status]);
    ring.offerHead(0);
  };
}

test('descriptor loops (hop budget = queue size)', async () => {
  await survives(
    spoiledChain((ring, [header = 0, data = 0]) => {
      ring.writeDescriptor(1, data, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
      ring.writeDescriptor(0, header, 16, VRING_DESC_F_NEXT, 1);
    }),
  );
  await survives(
    spoiledChain((ring, [, , status = 0]) => {
      ring.writeDescriptor(2, status, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    }),
  );
});

test('head or next index at or beyond the queue size', async () => {
  for (const index of [QUEUE_SIZE, 0x7fff, 0xffff]) {
    await survives((driver) => driver.ring().offerHead(index));
    await survives(
      spoiledChain((ring, [header = 0]) => {
        ring.writeDescriptor(0, header, 16, VRING_DESC_F_NEXT, index);
      }),
    );
  }
});

test('avail.idx further ahead than the queue is long', async () => {
  for (const ahead of [QUEUE_SIZE + 1, 0x8000, 0xffff]) {
    await survives((driver) => driver.ring().setAvailableIdx(ahead));
  }
});

test('addr+len overflow, outside RAM, across a hole', async () => {
  const addresses = [MEMORY_BYTES - 256, MEMORY_BYTES, HIGH_GPA - 256, 0xd000_0000];
  for (const gpa of addresses) {
    await survives(
      spoiledChain((ring) => {
        ring.writeDescriptor(1, gpa, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
      }),
    );
  }
  await survives(
    spoiledChain((ring) => {
      // The highest addresses that a double can say; `BigInt(-256)` is 2^64 - 256 in 64 bits.
      ring.writeDescriptor(1, -256, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
    }),
  );
});

test('the sum of lengths overflows u32', async () => {
  await survives(
    spoiledChain((ring) => {
      ring.writeDescriptor(1, 0, 0xffff_ffff, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
    }),
  );
  // The same memory again and again, until it is more than 4 GiB.
  const queueSize = 256;
  await survives(
    (driver) => {
      const flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
      for (let index = 0; index < queueSize - 1; index += 1) {
        driver.ring().writeDescriptor(index, 0, MEMORY_BYTES, flags, index + 1);
      }
      driver.ring().writeDescriptor(queueSize - 1, 0, 1, VRING_DESC_F_WRITE, 0);
      driver.ring().offerHead(0);
    },
    { queueSize },
  );
});

test('readable after writable', async () => {
  await survives(
    spoiledChain((ring, [header = 0, data = 0]) => {
      ring.writeDescriptor(0, data, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
      ring.writeDescriptor(1, header, 16, VRING_DESC_F_NEXT, 2);
    }),
  );
});

test('indirect tables: nested, oversized, outside RAM, with NEXT, not negotiated', async () => {
  const indirect = (gpa: number, length: number, flags = 0) =>
    spoiledChain((ring) => {
      ring.writeDescriptor(0, gpa, length, VRING_DESC_F_INDIRECT | flags, 1);
    });
  await survives(indirect(0x1000, 0));
  await survives(indirect(0x1000, 17));
  await survives(indirect(MEMORY_BYTES - 16, 32));
  await survives(indirect(0x1000, 0xffff_fff0));
  await survives(indirect(0x1000, 48, VRING_DESC_F_NEXT));
  await survives(indirect(0x1000, 48), { features: VERSION_1 });
  await survives((driver) => {
    const table = driver.allocate(32);
    const view = driver.memory.view(table, 32);
    view.setBigUint64(0, BigInt(table), true);
    view.setUint32(8, 16, true);
    view.setUint16(12, VRING_DESC_F_INDIRECT, true);
    driver.ring().writeDescriptor(0, table, 16, VRING_DESC_F_INDIRECT, 0);
    driver.ring().offerHead(0);
  });
  await survives((driver) => {
    // The last entry goes on past the table's end.
    const table = driver.allocate(16);
    const view = driver.memory.view(table, 16);
    view.setBigUint64(0, BigInt(driver.header(T_IN, 0).gpa), true);
    view.setUint32(8, 16, true);
    view.setUint16(12, VRING_DESC_F_NEXT, true);
    view.setUint16(14, 1, true);
    driver.ring().writeDescriptor(0, table, 16, VRING_DESC_F_INDIRECT, 0);
    driver.ring().offerHead(0);
  });
});

test('rings unaligned, outside RAM, across a hole: the device does not start', async () => {
  const good: RingAddresses = { size: 16, descriptorGpa: 0, availableGpa: 4096, usedGpa: 8192 };
  const spoiled: Partial<RingAddresses>[] = [
    { descriptorGpa: 8 },
    { availableGpa: 4097 },
    { usedGpa: 8194 },
    { descriptorGpa: MEMORY_BYTES },
    { descriptorGpa: MEMORY_BYTES - 16 },
    { availableGpa: MEMORY_BYTES - 2 },
    { usedGpa: HIGH_GPA - 4 },
    { usedGpa: 0xd000_0000 },
    { availableGpa: 2 ** 52 },
    { descriptorGpa: 2 ** 63 },
  ];
  await withDisk(async (driver) => {
    for (const change of spoiled) {
      assert.ok(await driver.registers.negotiate());
      driver.registers.setUpQueue(0, { ...good, ...change });
      driver.registers.driverOk();
      assert.notEqual(driver.registers.status & S_NEEDS_RESET, 0, JSON.stringify(change));
      assert.equal(await driver.interrupted(), INT_CONFIG);
      driver.kick();
    }
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
