/**
 * A virtio device as a machine assembles it, without KVM: the test plays the guest. Register accesses go
 * through a bank whose fast registers the test executes; kicks use the eventfds that ioeventfds would
 * signal; interrupts arrive by the eventfd that would be an irqfd.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NativeEventFd } from '../../kvm-addon/index.d.ts';
import type { VirtioDevice } from '../../vmm/devices/virtio/device.ts';
import {
  MMIO_BANK,
  MMIO_INTERRUPT_STATUS_WORD,
  MmioTransport,
} from '../../vmm/devices/virtio/transport/mmio.ts';
import { loadAddon } from '../../vmm/host/addon.ts';
import { KvmMemory } from '../../vmm/kvm/memory.ts';
import type { QueueHost } from '../../vmm/kvm/queue-workers.ts';
import { KvmRegisterBank } from '../../vmm/kvm/register-bank.ts';
import { FakeRegisterBank } from './fake-register-bank.ts';
import { MmioDriver, REG } from './mmio-driver.ts';
import { ringBytes, SplitRing, type UsedElement } from './split-ring.ts';

export const MEMORY_BYTES = 32 * 2 ** 20;
/** A second region of memory after a hole, so that addresses beyond 4 GiB are used as well. */
export const HIGH_GPA = 2 ** 32;
const HIGH_BYTES = 2 ** 20;
/** Start of the tests' rings and buffers. Memory below it is not used. */
const FIRST_GPA = 0x10_0000;
const PATIENCE_MS = 60_000;

/** The guest's side of a bank whose words are shared with the queue worker. */
class SharedBank extends FakeRegisterBank {
  override readonly words: Uint32Array;

  constructor(shared: KvmRegisterBank) {
    super(MMIO_BANK);
    this.words = shared.words;
  }
}

export class FakeDriver {
  readonly memory: KvmMemory;
  readonly device: VirtioDevice;
  readonly transport: MmioTransport;
  readonly registers: MmioDriver;
  readonly guestErrors: string[] = [];
  readonly rings: SplitRing[] = [];
  readonly #interrupt: NativeEventFd;
  readonly #kicks: readonly NativeEventFd[];
  #nextGpa = FIRST_GPA;

  constructor(queueCount: number, createDevice: (host: QueueHost) => VirtioDevice) {
    const { NativeEventFd } = loadAddon();
    this.memory = new KvmMemory([
      { gpa: 0, sizeBytes: MEMORY_BYTES },
      { gpa: HIGH_GPA, sizeBytes: HIGH_BYTES },
    ]);
    this.#interrupt = new NativeEventFd();
    this.#kicks = Array.from({ length: queueCount }, () => new NativeEventFd());
    const nativeBank = new KvmRegisterBank(MMIO_BANK);
    const interrupt = {
      gsi: 5,
      event: this.#interrupt,
      pulse: () => this.#interrupt.signal(),
    };
    this.device = createDevice({
      memory: this.memory,
      kicks: this.#kicks,
      interrupts: [interrupt],
      interruptStatus: { bank: nativeBank, word: MMIO_INTERRUPT_STATUS_WORD },
      contain: (action) => action(),
    });
    const bank = new SharedBank(nativeBank);
    this.transport = new MmioTransport({
      device: this.device,
      bank,
      interrupt,
      onGuestError: (reason) => this.guestErrors.push(reason),
    });
    bank.connect(this.transport);
    this.registers = new MmioDriver(bank);
  }

  /** Unused guest memory, filled with a pattern that no device writes. */
  allocate(length: number, align = 16): number {
    const gpa = Math.ceil(this.#nextGpa / align) * align;
    this.#nextGpa = gpa + length;
    this.memory.slice(gpa, length).fill(0xcc);
    return gpa;
  }

  /** Initializes the device as Linux does, with all queues or with `queueCount` of them. */
  async start(
    options: { features?: bigint; queueSize?: number; queueCount?: number } = {},
  ): Promise<void> {
    const { features, queueSize = 64, queueCount = this.#kicks.length } = options;
    assert.ok(await this.registers.negotiate(features), 'the features are accepted');
    this.rings.length = 0;
    for (let index = 0; index < queueCount; index += 1) {
      const ring = new SplitRing(this.memory, this.allocate(ringBytes(queueSize), 4096), queueSize);
      this.rings.push(ring);
      this.registers.setUpQueue(index, ring);
    }
    this.registers.driverOk();
  }

  ring(index = 0): SplitRing {
    const ring = this.rings[index];
    assert.ok(ring, `queue ${index} is set up`);
    return ring;
  }

  kick(index = 0): void {
    this.#kicks[index]?.signal();
  }

  /** Number of interrupts since the last call. */
  takeInterrupts(): number {
    return this.#interrupt.take();
  }

  /** Polls for the next element of a used ring, like a driver without interrupts. */
  async nextUsed(index = 0): Promise<UsedElement> {
    const ring = this.ring(index);
    let used = ring.takeUsed();
    await this.until(`a used buffer in queue ${index}`, () => {
      used ??= ring.takeUsed();
      return used !== undefined;
    });
    assert.ok(used);
    return used;
  }

  /** Waits for an interrupt and acknowledges it. @returns the value of InterruptStatus */
  async interrupted(): Promise<number> {
    await this.until('an interrupt', () => this.takeInterrupts() > 0);
    const status = this.registers.read(REG.INTERRUPT_STATUS);
    this.registers.write(REG.INTERRUPT_ACK, status);
    return status;
  }

  /**
   * Calls `work` while the queue worker sleeps, and waits until it sleeps again, so that it has done
   * everything that `work` caused. For a device with one worker.
   */
  async untilRest<T>(work: () => T | Promise<T>): Promise<T> {
    const sleeps = () => this.device.statistics()['sleeps'] ?? 0;
    await this.until('the worker to rest', () => sleeps() > 0);
    const before = sleeps();
    const result = await work();
    await this.until('the worker to rest again', () => sleeps() > before);
    return result;
  }

  /** Polls until `done` returns true. Fails the test when that takes too long. */
  async until(what: string, done: () => boolean): Promise<void> {
    const limit = performance.now() + PATIENCE_MS;
    while (!done()) {
      assert.ok(performance.now() < limit, `waited too long for ${what}`);
      await sleep(1);
    }
  }

  /** Resets the device and frees everything. The test closes its own files. */
  async close(): Promise<void> {
    await this.transport.reset();
    for (const event of [this.#interrupt, ...this.#kicks]) event.close();
    this.memory.close();
  }
}
