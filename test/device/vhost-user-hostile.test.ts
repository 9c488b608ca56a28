/**
 * Hostile drivers of a device that another process serves: their rings need a reset, and no chain of
 * them reaches the process. This test plays the process: it answers each request with the request's own
 * bytes, by the shadow rings.
 */
import assert from 'node:assert/strict';
import { readSync, writeSync } from 'node:fs';
import type { TestContext } from 'node:test';
import type { NativeVhostRing } from '../../kvm-addon/index.d.ts';
import { ConfigSpace } from '../../vmm/devices/virtio/config-space.ts';
import { VhostUserDevice } from '../../vmm/devices/virtio/vhost-user/vhost-user-device.ts';
import { vhostWorker } from '../../vmm/kvm/queue-workers.ts';
import { createVhostQueues } from '../../vmm/kvm/vhost-queues.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { type HostileSubject, testHostileRings } from '../support/hostile-rings.ts';

const QUEUES = 2;
const QUEUE_SIZE = 16;
/** Beyond all guest memory. */
const RINGS_ADDRESS = 2 ** 46;
const DESCRIPTOR_BYTES = 16;
const USED_ELEMENT_BYTES = 8;

/** The other process, which has the shadow rings by a descriptor of their memory. */
class EchoBackend {
  readonly #fd: number;
  readonly #driver: () => FakeDriver;
  readonly #rings: readonly NativeVhostRing[];
  readonly #served = new Array<number>(QUEUES).fill(0);

  constructor(fd: number, rings: readonly NativeVhostRing[], driver: () => FakeDriver) {
    this.#fd = fd;
    this.#rings = rings;
    this.#driver = driver;
  }

  /** As a new process: it begins with the first chain. */
  restart(): void {
    this.#served.fill(0);
  }

  /** Chains that have been passed to it and not been served. */
  waiting(queue: number): number {
    const ring = this.#ring(queue);
    const available = this.#read(ring.availableAddress, 4).getUint16(2, true);
    return (available - (this.#served[queue] ?? 0)) & 0xffff;
  }

  /** Answers the next chain: a table with a readable buffer and a writable one of its size. */
  serve(queue: number): void {
    const ring = this.#ring(queue);
    const index = this.#served[queue] ?? 0;
    const slot = index % QUEUE_SIZE;
    const head = this.#read(ring.availableAddress + 4 + 2 * slot, 2).getUint16(0, true);
    const chain = this.#read(ring.descriptorAddress + head * DESCRIPTOR_BYTES, DESCRIPTOR_BYTES);
    const table = this.#read(Number(chain.getBigUint64(0, true)), 2 * DESCRIPTOR_BYTES);
    const [from, to] = [0, DESCRIPTOR_BYTES].map((at) => Number(table.getBigUint64(at, true)));
    const length = table.getUint32(8, true);
    const { memory } = this.#driver();
    memory.write(to ?? 0, memory.slice(from ?? 0, length).slice());
    const element = new DataView(new ArrayBuffer(USED_ELEMENT_BYTES));
    element.setUint32(0, head, true);
    element.setUint32(4, length, true);
    this.#write(ring.usedAddress + 4 + USED_ELEMENT_BYTES * slot, element);
    const used = new DataView(new ArrayBuffer(2));
    used.setUint16(0, index + 1, true);
    this.#write(ring.usedAddress + 2, used);
    this.#served[queue] = index + 1;
    writeSync(ring.callFd, new BigUint64Array([1n]));
  }

  #ring(queue: number): NativeVhostRing {
    const ring = this.#rings[queue];
    assert.ok(ring);
    return ring;
  }

  #read(address: number, bytes: number): DataView {
    const view = new DataView(new ArrayBuffer(bytes));
    readSync(this.#fd, view, 0, bytes, address - RINGS_ADDRESS);
    return view;
  }

  #write(address: number, view: DataView): void {
    writeSync(this.#fd, view, 0, view.byteLength, address - RINGS_ADDRESS);
  }
}

function open(context: TestContext): HostileSubject {
  const queues = createVhostQueues({
    threadName: 'tsvm-test',
    queueCount: QUEUES,
    queueSize: QUEUE_SIZE,
    ringsAddress: RINGS_ADDRESS,
  });
  const backend = new EchoBackend(queues.shared().fd, queues.rings(), () => driver);
  const driver: FakeDriver = new FakeDriver(
    QUEUES,
    (host) =>
      new VhostUserDevice({
        id: 'share0',
        deviceId: 26,
        features: 0n,
        queueSizes: new Array<number>(QUEUES).fill(QUEUE_SIZE),
        config: new ConfigSpace(4),
        backend: {
          start: () => {
            queues.reset();
            backend.restart();
          },
          stop: async () => {},
          abandon: () => queues.fail(),
        },
        createWorker: vhostWorker(host, queues),
      }),
  );
  context.after(async () => {
    await driver.close();
    queues.close();
  });
  const works = async () => {
    for (let queue = 0; queue < QUEUES; queue += 1) {
      const [from, to] = [driver.allocate(64), driver.allocate(64)];
      driver.memory.slice(from, 64).fill(queue + 1);
      driver.ring(queue).addChain([
        { gpa: from, length: 64 },
        { gpa: to, length: 64, writable: true },
      ]);
      driver.kick(queue);
      await driver.until('the chain to be passed', () => backend.waiting(queue) > 0);
      assert.equal(backend.waiting(queue), 1, 'nothing of the hostile ring reached the process');
      backend.serve(queue);
      assert.equal((await driver.nextUsed(queue)).length, 64);
      assert.deepEqual(driver.memory.slice(to, 64), driver.memory.slice(from, 64));
    }
  };
  return { driver, works };
}

testHostileRings('vhost-user', [0, 1], open);
