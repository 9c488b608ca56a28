import { TsvmError } from '../../errors.ts';
import { VhostUserConnection } from './connection.ts';
import {
  memoryTableMessage,
  message,
  numberMessage,
  ringMessages,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_PROTOCOL_F_MQ,
  type VhostMemoryRegion,
  type VhostRing,
  VhostUserRequest,
} from './protocol.ts';

/** VIRTIO_F_INDIRECT_DESC and VIRTIO_F_VERSION_1: every request is passed as an indirect table. */
const REQUIRED_FEATURES = (1n << 28n) | (1n << 32n);

/** The bits of the device type (virtio 1.2, section 2.2). Others are about the driver's own rings. */
const DEVICE_TYPE_FEATURES = (1n << 24n) - 1n;

/** A backend process that was started for one device. */
export interface VhostUserProcess {
  /** A connected socket to it. */
  readonly fd: number;
  /** Ends it. Resolves when it does not run any more. */
  kill(): Promise<void>;
}

export interface VhostUserBackendOptions {
  /** Starts the process; what it says later is logged there. */
  readonly launch: () => VhostUserProcess;
  readonly queueSize: number;
  readonly memory: readonly VhostMemoryRegion[];
  readonly rings: readonly VhostRing[];
  /** Empties the rings for a new process. */
  readonly resetRings: () => void;
  /** The process failed while the device was in use, and is gone. */
  readonly onFailed: (reason: string) => void;
}

interface Instance {
  readonly process: VhostUserProcess;
  readonly connection: VhostUserConnection;
  started: boolean;
}

/**
 * The front end of a vhost-user device: a backend process for each activation of the device. Its
 * data plane is `NativeVhostQueues`.
 */
export class VhostUserBackend {
  readonly #options: VhostUserBackendOptions;
  #instance: Instance | undefined;
  #features = 0n;

  private constructor(options: VhostUserBackendOptions) {
    this.#options = options;
  }

  /**
   * Starts the backend and checks that it can serve the rings.
   * @throws TsvmError `backend-failed`; nothing is left behind then
   */
  static async open(options: VhostUserBackendOptions): Promise<VhostUserBackend> {
    const backend = new VhostUserBackend(options);
    try {
      await backend.#negotiate();
      return backend;
    } catch (error) {
      await backend.stop();
      throw error;
    }
  }

  /** The features of the device type that the backend offers. */
  get features(): bigint {
    return this.#features & DEVICE_TYPE_FEATURES;
  }

  /**
   * Puts the rings into service. A process that served an earlier activation was replaced.
   * @throws TsvmError `backend-failed`
   */
  start(features: bigint): void {
    const { queueSize, memory, rings, resetRings } = this.#options;
    const instance = this.#instance ?? this.#launch();
    const { connection } = instance;
    resetRings();
    instance.started = true;
    const accepted = (features & this.features) | REQUIRED_FEATURES | this.#protocolFeatures();
    connection.send(message(VhostUserRequest.SET_OWNER));
    connection.send(numberMessage(VhostUserRequest.SET_FEATURES, accepted));
    connection.send(memoryTableMessage(memory));
    for (const [index, ring] of rings.entries()) {
      for (const sent of ringMessages(index, queueSize, ring)) {
        const enables = sent.request === VhostUserRequest.SET_VRING_ENABLE;
        if (!enables || this.#protocolFeatures() !== 0n) connection.send(sent);
      }
    }
  }

  /** Ends the process: resolves when it touches guest memory no more. The next start makes a new one. */
  async stop(): Promise<void> {
    const instance = this.#instance;
    this.#instance = undefined;
    instance?.connection.close();
    await instance?.process.kill();
  }

  #launch(): Instance {
    const process = this.#options.launch();
    const connection = new VhostUserConnection(process.fd, (reason) => this.#failed(reason));
    const instance = { process, connection, started: false };
    this.#instance = instance;
    return instance;
  }

  async #negotiate(): Promise<void> {
    const { connection } = this.#launch();
    this.#features = await connection.ask(VhostUserRequest.GET_FEATURES);
    const missing = REQUIRED_FEATURES & ~this.#features;
    if (missing !== 0n) {
      throw new TsvmError('backend-failed', `the backend lacks features 0x${missing.toString(16)}`);
    }
    if (this.#protocolFeatures() === 0n) return;
    const offered = await connection.ask(VhostUserRequest.GET_PROTOCOL_FEATURES);
    const accepted = offered & VHOST_USER_PROTOCOL_F_MQ;
    connection.send(numberMessage(VhostUserRequest.SET_PROTOCOL_FEATURES, accepted));
    if (accepted === 0n) return;
    const queues = await connection.ask(VhostUserRequest.GET_QUEUE_NUM);
    const needed = this.#options.rings.length;
    if (queues < needed) {
      throw new TsvmError(
        'backend-failed',
        `the backend has ${queues} queues instead of ${needed}`,
      );
    }
  }

  #protocolFeatures(): bigint {
    return this.#features & VHOST_USER_F_PROTOCOL_FEATURES;
  }

  #failed(reason: string): void {
    const instance = this.#instance;
    if (instance === undefined || !instance.started) return;
    this.#instance = undefined;
    const gone = () => this.#options.onFailed(reason);
    instance.process.kill().then(gone, gone);
  }
}
