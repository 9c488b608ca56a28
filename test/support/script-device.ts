/** A device that TypeScript serves, with one queue of each kind. */
import { ConfigSpace } from '../../vmm/devices/virtio/config-space.ts';
import type { VirtioDevice } from '../../vmm/devices/virtio/device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../../vmm/devices/virtio/features.ts';
import {
  type Chain,
  type ChainBuffer,
  type CreateScriptQueues,
  ScriptQueueDevice,
} from '../../vmm/devices/virtio/script-queues.ts';

/** Answered immediately: each readable byte plus one, as far as there is room. */
export const ECHO_QUEUE = 0;
/** Answered when the test says so. */
export const HELD_QUEUE = 1;
/** The device wants a chain only when the test gives it a message. */
export const MESSAGE_QUEUE = 2;
export const READABLE_BYTES_MAX = 4096;

export class ScriptDevice extends ScriptQueueDevice implements VirtioDevice {
  readonly id = 'script0';
  readonly deviceId = 42;
  readonly features = QUEUE_FEATURES | VIRTIO_F_VERSION_1;
  readonly queueSizes = [256, 256, 256];
  readonly config = new ConfigSpace(0);
  readonly held: Chain[] = [];
  readonly messages: Uint8Array[] = [];
  /** Number of chains of the echo queue that were truncated. */
  cut = 0;

  constructor(createQueues: CreateScriptQueues) {
    super(createQueues, { threadName: 'tsvm-test', readableBytesMax: READABLE_BYTES_MAX });
    this.want(MESSAGE_QUEUE, 0);
  }

  protected override serve(chain: Chain): void {
    if (chain.queue === HELD_QUEUE) {
      this.held.push(chain);
    } else if (chain.queue === MESSAGE_QUEUE) {
      const message = this.messages.shift();
      if (message === undefined) this.giveBack(chain);
      else this.finish(chain, message.subarray(0, chain.writableBytes));
    } else {
      if (chain.readable.length < chain.readableBytes) this.cut += 1;
      const answer = chain.readable.map((byte) => byte + 1);
      this.finish(chain, answer.subarray(0, chain.writableBytes));
    }
  }

  /** The newest held chain. */
  protected override onStop(): void {
    for (const chain of this.held.splice(0).toReversed()) this.giveBack(chain);
  }

  send(message: Uint8Array): void {
    this.messages.push(message);
    this.want(MESSAGE_QUEUE, this.messages.length);
  }

  /** Answers one of the held chains. */
  release(index: number, data?: Uint8Array): void {
    const [chain] = this.held.splice(index, 1);
    if (chain !== undefined) this.finish(chain, data);
  }

  unuse(index: number): void {
    const [chain] = this.held.splice(index, 1);
    if (chain !== undefined) this.giveBack(chain);
  }

  heldBuffers(index: number): readonly ChainBuffer[] {
    const chain = this.held[index];
    return chain === undefined ? [] : this.buffers(chain);
  }
}
