/**
 * Attacks a device with the rings of `test/vectors/hostile_rings.h` through a fake driver. Every virtio
 * device is tested with {@link testHostileRings}.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { VIRTIO_F_VERSION_1 } from '../../vmm/devices/virtio/features.ts';
import { runC } from './compiled-c.ts';
import { type FakeDriver, MEMORY_BYTES } from './fake-driver.ts';
import { INT_CONFIG, type RingAddresses, S_NEEDS_RESET } from './mmio-driver.ts';

/** At most the size of any device's queues. */
const QUEUE_SIZE = 8;
/** Below the memory that {@link FakeDriver.allocate} returns. */
const BUFFER_GPA = 0x1000;
const TABLE_GPA = 0x2000;

/** A hostile ring as bytes for one queue of one driver. */
interface HostileRing {
  readonly name: string;
  /** Hexadecimal content of the first entries of the descriptor table and of the indirect table. */
  readonly descriptors: string;
  readonly table: string;
  readonly head: number;
  readonly available: number;
  readonly withoutIndirect: boolean;
}

interface HostilePlacement {
  readonly name: string;
  /** Addresses of descriptor table, available ring and used ring, hexadecimal. */
  readonly gpas: readonly [string, string, string];
}

interface Vectors {
  readonly rings: readonly HostileRing[];
  readonly placements: readonly HostilePlacement[];
}

const PROGRAM = `
#include <inttypes.h>
#include <stdio.h>
#include "../test/vectors/hostile_rings.h"

static void print_bytes(const char *name, const void *bytes, size_t count)
{
    printf("\\"%s\\":\\"", name);
    for (size_t i = 0; i < count; i++)
        printf("%02x", ((const uint8_t *)bytes)[i]);
    printf("\\",");
}

int main(void)
{
    struct hostile_layout layout;
    uint64_t parts[3];
    if (scanf("%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu32,
              &layout.buffer, &layout.table, &layout.ram_end, &parts[0], &parts[1], &parts[2],
              &layout.size) != 7)
        return 1;
    layout.queue = parts[0];
    printf("{\\"rings\\":[");
    for (unsigned i = 0; i < HOSTILE_RING_COUNT; i++) {
        const struct hostile_ring *ring = &hostile_rings[i];
        struct vring_desc descriptors[HOSTILE_DESCRIPTORS], table[HOSTILE_DESCRIPTORS];
        uint16_t available[3];
        hostile_ring_write(&layout, ring, descriptors, table, (struct vring_avail *)available);
        printf("%s{\\"name\\":\\"%s\\",", i == 0 ? "" : ",", ring->name);
        print_bytes("descriptors", descriptors, sizeof descriptors);
        print_bytes("table", table, sizeof table);
        printf("\\"head\\":%u,\\"available\\":%u,\\"withoutIndirect\\":%s}", available[2],
               hostile_available(&layout, ring), ring->without_indirect ? "true" : "false");
    }
    printf("],\\"placements\\":[");
    for (unsigned i = 0; i < HOSTILE_PLACEMENT_COUNT; i++) {
        uint64_t gpas[] = {parts[0], parts[1], parts[2]};
        hostile_placement_apply(&hostile_placements[i], &layout, gpas);
        printf("%s{\\"name\\":\\"%s\\",\\"gpas\\":[", i == 0 ? "" : ",", hostile_placements[i].name);
        for (unsigned part = 0; part < 3; part++)
            printf("%s\\"0x%" PRIx64 "\\"", part == 0 ? "" : ",", gpas[part]);
        printf("]}");
    }
    printf("]}");
    return 0;
}
`;

const known = new Map<string, Vectors>();

/** Only for the names of the vectors. */
const NOWHERE: RingAddresses = {
  size: QUEUE_SIZE,
  descriptorGpa: 0,
  availableGpa: 0,
  usedGpa: 0,
};

/** The vectors for a queue at these addresses. */
function vectorsFor(ring: RingAddresses): Vectors {
  const { descriptorGpa, availableGpa, usedGpa, size } = ring;
  const layout = [BUFFER_GPA, TABLE_GPA, MEMORY_BYTES, descriptorGpa, availableGpa, usedGpa, size];
  const input = layout.join(' ');
  let vectors = known.get(input);
  if (vectors === undefined) {
    vectors = JSON.parse(runC(PROGRAM, { input }).toString()) as Vectors;
    known.set(input, vectors);
  }
  return vectors;
}

/** A new device to be attacked by a hostile driver. */
export interface HostileSubject {
  /** Not started yet. */
  readonly driver: FakeDriver;
  /**
   * For a queue that the device uses only if it has data for the driver: provides data. Called when the
   * ring has been written.
   */
  readonly provoke?: (queue: number) => void | Promise<void>;
  /** Asserts that the device works, after it has been reset and started with valid rings. */
  readonly works: () => void | Promise<void>;
}

/**
 * Defines a test for each queue that attacks it with every vector. The device must report by an
 * interrupt that it needs a reset, serve nothing, leave the process alive, and work after the reset.
 * @param open creates the device and registers the release of its resources with `context.after`
 */
export function testHostileRings(
  device: string,
  queues: readonly number[],
  open: (context: TestContext) => HostileSubject,
): void {
  for (const queue of queues) {
    test(`${device}, queue ${queue}: hostile rings need a reset and do no harm`, async (context) => {
      for (const { name } of vectorsFor(NOWHERE).rings) {
        await context.test(name, (nested) => attack(open(nested), queue, name));
      }
    });

    test(`${device}, queue ${queue}: rings at impossible addresses do not start`, async (context) => {
      const { driver, works } = open(context);
      await driver.start({ queueSize: QUEUE_SIZE });
      for (const { name, gpas } of vectorsFor(driver.ring(queue)).placements) {
        assert.ok(await driver.registers.negotiate());
        const [descriptorGpa, availableGpa, usedGpa] = gpas.map(BigInt) as [bigint, bigint, bigint];
        const addresses = { size: QUEUE_SIZE, descriptorGpa, availableGpa, usedGpa };
        driver.registers.setUpQueue(queue, addresses);
        driver.takeInterrupts();
        driver.registers.driverOk();
        assert.notEqual(driver.registers.status & S_NEEDS_RESET, 0, name);
        assert.equal(await driver.interrupted(), INT_CONFIG, name);
        driver.kick(queue);
      }
      await driver.start({ queueSize: QUEUE_SIZE });
      await works();
    });
  }
}

async function attack(subject: HostileSubject, queue: number, name: string): Promise<void> {
  const { driver } = subject;
  await driver.start({ queueSize: QUEUE_SIZE });
  const vector = vectorsFor(driver.ring(queue)).rings.find((ring) => ring.name === name);
  assert.ok(vector);
  if (vector.withoutIndirect) {
    await driver.start({ queueSize: QUEUE_SIZE, features: VIRTIO_F_VERSION_1 });
  }
  const ring = driver.ring(queue);
  driver.memory.write(ring.descriptorGpa, Buffer.from(vector.descriptors, 'hex'));
  driver.memory.write(TABLE_GPA, Buffer.from(vector.table, 'hex'));
  const used = ring.usedIdx;
  // Written at once, because a device that polls would serve a valid index before the invalid one.
  ring.writeHead(vector.head);
  ring.setAvailableIdx(vector.available);
  driver.kick(queue);
  await subject.provoke?.(queue);
  await driver.until('DEVICE_NEEDS_RESET', () => (driver.registers.status & S_NEEDS_RESET) !== 0);
  assert.notEqual((await driver.interrupted()) & INT_CONFIG, 0);
  assert.equal(driver.guestErrors.length, 1, driver.guestErrors.join());
  assert.equal(ring.usedIdx, used, 'no chain is served');
  driver.kick(queue);
  await driver.start({ queueSize: QUEUE_SIZE });
  await subject.works();
}
