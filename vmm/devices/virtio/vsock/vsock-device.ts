import type { StateReader, StateValue } from '../../device-state.ts';
import { ConfigSpace } from '../config-space.ts';
import type { VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type CreateQueueWorker, QueueWorkerDevice } from '../queue-worker.ts';

/** `struct virtio_vsock_config` (virtio 1.2, section 5.10.4). */
const CONFIG_BYTES = 8;
const GUEST_CID = { offset: 0, width: 8 } as const;

/** Receive, transmit, event (5.10.2). */
const QUEUE_SIZES = [256, 256, 16];

/** The connections, which the queue worker serves. */
export interface VsockConnections {
  /**
   * Closes all connections, while the worker is stopped.
   * @param tellGuest sends the driver a transport reset event, if it does not know of this yet
   */
  reset(tellGuest: boolean): void;
}

/**
 * A socket device (virtio 1.2, section 5.10) for stream sockets. VIRTIO_VSOCK_F_SEQPACKET is not
 * offered.
 */
export class VsockDevice extends QueueWorkerDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId = 19;
  readonly features = QUEUE_FEATURES | VIRTIO_F_VERSION_1;
  readonly queueSizes = QUEUE_SIZES;
  readonly config = new ConfigSpace(CONFIG_BYTES);
  readonly #connections: VsockConnections;

  constructor(options: {
    readonly id: string;
    readonly guestCid: number;
    readonly connections: VsockConnections;
    readonly createWorker: CreateQueueWorker;
  }) {
    super(options.createWorker);
    this.id = options.id;
    this.#connections = options.connections;
    this.config.set(GUEST_CID, options.guestCid);
  }

  override async reset(): Promise<void> {
    await super.reset();
    this.#connections.reset(false);
  }

  /** Connections end in host sockets of this process and are not part of the state. */
  save(): StateValue {
    return {};
  }

  load(_state: StateReader): void {
    this.#connections.reset(true);
  }
}
