import type { CreateQueueWorker } from '../queue-worker.ts';
import type { Chain, CreateScriptQueues, ScriptQueues } from '../script-queues.ts';

/** Commands of the control queue (virtio 1.2, section 5.1.6.5): class, command, data. */
const VIRTIO_NET_CTRL_MQ = 4;
const VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0;
const MQ_COMMAND_BYTES = 4;

const VIRTIO_NET_OK = Uint8Array.of(0);
const VIRTIO_NET_ERR = Uint8Array.of(1);

const READABLE_BYTES_MAX = 64;

/** The control queue. Its only supported command sets the number of queue pairs that the driver uses. */
export class NetControl {
  readonly createWorker: CreateQueueWorker;
  readonly #queues: ScriptQueues;
  readonly #setPairs: (pairs: number) => boolean;

  /** @param setPairs activates this many pairs; returns false if the number is not allowed */
  constructor(createQueues: CreateScriptQueues, setPairs: (pairs: number) => boolean) {
    const { queues, createWorker } = createQueues({
      threadName: 'tsvm-net-ctrl',
      readableBytesMax: READABLE_BYTES_MAX,
      onChains: () => this.#serveArrived(),
    });
    this.createWorker = createWorker;
    this.#queues = queues;
    this.#setPairs = setPairs;
  }

  #serveArrived(): void {
    const chains = this.#queues.takeChains();
    this.#queues.finish(chains.map((chain) => ({ id: chain.id, ...this.#answer(chain) })));
  }

  /** A command without a buffer for its acknowledgement is not executed. */
  #answer(chain: Chain): { data?: Uint8Array } {
    if (chain.writableBytes === 0) return {};
    return { data: this.#execute(chain) ? VIRTIO_NET_OK : VIRTIO_NET_ERR };
  }

  #execute({ readable, readableBytes }: Chain): boolean {
    const [commandClass, command, low = 0, high = 0] = readable;
    return (
      readableBytes === MQ_COMMAND_BYTES &&
      commandClass === VIRTIO_NET_CTRL_MQ &&
      command === VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET &&
      this.#setPairs(low | (high << 8))
    );
  }
}
