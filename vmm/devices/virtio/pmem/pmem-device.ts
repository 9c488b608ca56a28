import type { StateReader, StateValue } from '../../device-state.ts';
import { ConfigSpace } from '../config-space.ts';
import type { VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type Chain, type CreateScriptQueues, ScriptQueueDevice } from '../script-queues.ts';

/** 5.19.4: struct virtio_pmem_config. */
const START = { offset: 0, width: 8 } as const;
const SIZE = { offset: 8, width: 8 } as const;
const CONFIG_BYTES = 16;

/** 5.19.2: one queue, for the driver's requests. */
export const PMEM_QUEUES = 1;
const QUEUE_SIZE = 64;

/** 5.19.6: le32 type; the one request. */
const VIRTIO_PMEM_REQ_TYPE_FLUSH = 0;
const REQUEST_BYTES = 4;
/** 5.19.6: le32 ret. */
const VIRTIO_PMEM_RESP_TYPE_OK = 0;
const VIRTIO_PMEM_RESP_TYPE_EIO = 1;
const RESPONSE_BYTES = 4;

export interface PmemDeviceOptions {
  readonly id: string;
  /** The guest memory that is the file. */
  readonly region: { readonly gpa: number; readonly sizeBytes: number };
  /** The file's size: the region may be larger. */
  readonly fileBytes: number;
  /** Makes durable what the guest has written before. Rejects if that fails. */
  readonly flush: () => Promise<void>;
  /** Told of a flush that has failed, or was of another kind. */
  readonly onFailure: (error: unknown) => void;
  readonly createQueues: CreateScriptQueues;
}

/**
 * A file of the host as guest memory (virtio-pmem: virtio 1.2, section 5.19). The guest reads and writes
 * it without this device, and asks it to make writes durable.
 */
export class PmemDevice extends ScriptQueueDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId = 27;
  readonly features = QUEUE_FEATURES | VIRTIO_F_VERSION_1;
  readonly queueSizes = [QUEUE_SIZE];
  readonly config = new ConfigSpace(CONFIG_BYTES);
  readonly #fileBytes: number;
  readonly #flush: () => Promise<void>;
  readonly #onFailure: (error: unknown) => void;
  /** Requests that came while another flush was under way: one flush is for all of them. */
  #waiting: Chain[] = [];
  #isFlushing = false;
  readonly #counters = { flushes: 0, errors: 0 };

  constructor({ id, region, fileBytes, flush, onFailure, createQueues }: PmemDeviceOptions) {
    super(createQueues, { threadName: `tsvm-${id}`, readableBytesMax: REQUEST_BYTES });
    this.id = id;
    this.#fileBytes = fileBytes;
    this.#flush = flush;
    this.#onFailure = onFailure;
    this.config.set(START, region.gpa);
    this.config.set(SIZE, region.sizeBytes);
  }

  override statistics(): Readonly<Record<string, number>> {
    return { ...super.statistics(), ...this.#counters };
  }

  /** The file's content is not part of the state. */
  save(): StateValue {
    return { fileBytes: this.#fileBytes };
  }

  /** The guest may have mapped all of the file. */
  load(state: StateReader): void {
    const savedBytes = state.number('fileBytes', Number.MAX_SAFE_INTEGER);
    if (savedBytes === this.#fileBytes) return;
    state.fail(
      `its file had ${savedBytes} bytes, and has ${this.#fileBytes} now: give the file as it was, or ` +
        'boot the machine',
    );
  }

  protected override serve(chain: Chain): void {
    const { readable } = chain;
    const isFlush =
      readable.byteLength >= REQUEST_BYTES &&
      new DataView(readable.buffer, readable.byteOffset).getUint32(0, true) ===
        VIRTIO_PMEM_REQ_TYPE_FLUSH;
    if (!isFlush) {
      this.#counters.errors += 1;
      this.#respond(chain, VIRTIO_PMEM_RESP_TYPE_EIO);
      return;
    }
    this.#counters.flushes += 1;
    this.#waiting.push(chain);
    if (!this.#isFlushing) void this.#flushWaiting();
  }

  /** Never rejects. A reset or a pause waits for it, as all chains are completed first. */
  async #flushWaiting(): Promise<void> {
    this.#isFlushing = true;
    while (this.#waiting.length > 0) {
      const chains = this.#waiting;
      this.#waiting = [];
      let response = VIRTIO_PMEM_RESP_TYPE_OK;
      try {
        await this.#flush();
      } catch (error) {
        response = VIRTIO_PMEM_RESP_TYPE_EIO;
        this.#counters.errors += chains.length;
        this.#onFailure(error);
      }
      for (const chain of chains) this.#respond(chain, response);
    }
    this.#isFlushing = false;
  }

  #respond(chain: Chain, response: number): void {
    const bytes = new Uint8Array(RESPONSE_BYTES);
    new DataView(bytes.buffer).setUint32(0, response, true);
    this.finish(chain, bytes.subarray(0, chain.writableBytes));
  }
}
