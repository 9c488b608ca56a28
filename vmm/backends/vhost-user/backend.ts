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

/**
 * VIRTIO_F_INDIRECT_DESC and VIRTIO_F_VERSION_1: every request is passed as an indirect descriptor
 * table.
 */
const REQUIRED_FEATURES = (1n << 28n) | (1n << 32n);

/**
 * Feature bits of the device type (virtio 1.2, section 2.2). The other bits concern the driver's own
 * rings.
 */
const DEVICE_TYPE_FEATURES = (1n << 24n) - 1n;

/** The process of a backend, started for one activation of a device. */
export interface VhostUserProcess {
  /** A socket connected to it. */
  readonly fd: number;
  /** Ends the process. Resolves when it has exited. */
  kill(): Promise<void>;
}

export interface VhostUserBackendOptions {
  /** Starts a process, whose later messages the caller logs. */
  readonly launch: () => VhostUserProcess;
  readonly queueSize: number;
  readonly memory: readonly VhostMemoryRegion[];
  readonly rings: readonly VhostRing[];
  /** Empties the rings for a new process. */
  readonly resetRings: () => void;
  /** Called when the process has failed and exited while the device was in use. */
  readonly onFailed: (reason: string) => void;
}

interface Instance {
  readonly process: VhostUserProcess;
  readonly connection: VhostUserConnection;
  started: boolean;
}

/**
 * The front end of a vhost-user device. Each activation of the device starts a backend process. The data
 * plane is `NativeVhostQueues`.
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
   * @throws TsvmError `backend-failed`; everything has been released then
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
   * Activates the rings. A process that served an earlier activation is replaced.
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

  /**
   * Ends the process. Resolves when it can no longer access guest memory. The next start creates a new
   * process.
   */
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
