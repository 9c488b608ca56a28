import { ConfigSpace } from '../../vmm/devices/virtio/config-space.ts';
import type { ActivationContext, VirtioDevice } from '../../vmm/devices/virtio/device.ts';
import type { QueueStart, QueueWorker } from '../../vmm/devices/virtio/queue-worker.ts';

/** A device that records the transport's calls. Its reset waits for the test. */
export class StubVirtioDevice implements VirtioDevice {
  readonly id = 'stub';
  readonly deviceId = 42;
  features = (1n << 32n) | (1n << 29n) | (1n << 3n);
  readonly queueSizes = [64, 32];
  readonly config = new ConfigSpace(8);
  readonly activations: ActivationContext[] = [];
  readonly configWrites: (readonly number[])[] = [];
  readonly stoppedQueues: number[] = [];
  resets = 0;
  quiesces = 0;
  failActivation: Error | undefined;
  /** If set, resets and stops of queues wait until it is resolved. */
  inFlight: Promise<void> | undefined;

  writeConfig(offset: number, width: number, value: number): void {
    this.configWrites.push([offset, width, value]);
  }

  activate(context: ActivationContext): void {
    this.activations.push(context);
    if (this.failActivation) throw this.failActivation;
  }

  async stopQueue(index: number): Promise<void> {
    this.stoppedQueues.push(index);
    await this.inFlight;
  }

  async quiesce(): Promise<void> {
    this.quiesces += 1;
    await this.inFlight;
  }

  async reset(): Promise<void> {
    this.resets += 1;
    await this.inFlight;
  }

  statistics(): Record<string, number> {
    return { requests: 7 };
  }
}

/** A worker that records its starts and stops. */
export class StubQueueWorker implements QueueWorker {
  readonly starts: QueueStart[] = [];
  stops = 0;
  failStart: Error | undefined;
  /** If set, stops wait until it is resolved. */
  inFlight: Promise<void> | undefined;
  readonly #onBroken: (reason: string) => void;

  constructor(onBroken: (reason: string) => void) {
    this.#onBroken = onBroken;
  }

  start(start: QueueStart): void {
    this.starts.push(start);
    if (this.failStart) throw this.failStart;
  }

  async stop(): Promise<void> {
    this.stops += 1;
    await this.inFlight;
  }

  statistics(): Record<string, number> {
    return { requests: this.starts.length };
  }

  breakQueue(reason: string): void {
    this.#onBroken(reason);
  }
}
