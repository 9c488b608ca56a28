import { TsvmError } from '../../../errors.ts';
import type { StateReader, StateValue } from '../../device-state.ts';
import { ConfigSpace } from '../config-space.ts';
import type { VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type Chain, type CreateScriptQueues, ScriptQueueDevice } from '../script-queues.ts';
import { BlockMap, type BlockRun } from './block-map.ts';
import { MEM_BLOCK_BYTES } from './mem-block.ts';
import {
  composeResponse,
  type MemRequest,
  parseRequest,
  REQUEST_BYTES,
  VIRTIO_MEM_REQ_PLUG,
  VIRTIO_MEM_REQ_STATE,
  VIRTIO_MEM_REQ_UNPLUG,
  VIRTIO_MEM_REQ_UNPLUG_ALL,
  VIRTIO_MEM_RESP_ACK,
  VIRTIO_MEM_RESP_BUSY,
  VIRTIO_MEM_RESP_ERROR,
  VIRTIO_MEM_RESP_NACK,
} from './mem-request.ts';

/** Virtio 1.2, section 5.15.3: the driver does not even read unplugged memory. */
export const VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE = 1n << 1n;

/** 5.15.4: struct virtio_mem_config. */
const BLOCK_SIZE = { offset: 0, width: 8 } as const;
const ADDR = { offset: 16, width: 8 } as const;
const REGION_SIZE = { offset: 24, width: 8 } as const;
const USABLE_REGION_SIZE = { offset: 32, width: 8 } as const;
const PLUGGED_SIZE = { offset: 40, width: 8 } as const;
const REQUESTED_SIZE = { offset: 48, width: 8 } as const;
const CONFIG_BYTES = 56;

/** 5.15.2: one queue, for the driver's requests. */
export const MEM_QUEUES = 1;
const QUEUE_SIZE = 64;

/** Guest memory whose pages can be given back to the host. */
export interface MemMemory {
  /** Releases whole pages, which are read as zeroes then. */
  discard(gpa: number, lengthBytes: number): void;
}

export interface MemDeviceOptions {
  readonly id: string;
  readonly memory: MemMemory;
  /** Address and size of the memory that can be plugged, in whole blocks. */
  readonly region: { readonly gpa: number; readonly sizeBytes: number };
  /** How much the driver is to plug, in whole blocks. */
  readonly requestedBytes: number;
  readonly createQueues: CreateScriptQueues;
}

/**
 * Memory that the driver plugs and unplugs in blocks, as the host requests (virtio-mem: virtio 1.2,
 * section 5.15). The host's memory of unplugged blocks is released. A driver that uses them
 * nevertheless gets memory there, at most that of the region: the device does not watch for it.
 */
export class MemDevice extends ScriptQueueDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId = 24;
  readonly features = QUEUE_FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE;
  readonly queueSizes = [QUEUE_SIZE];
  readonly config = new ConfigSpace(CONFIG_BYTES, { variable: true });
  readonly #memory: MemMemory;
  readonly #region: MemDeviceOptions['region'];
  /** 5.15.5.2: a reset of the device leaves blocks as they are. */
  readonly #blocks: BlockMap;
  #requestedBytes: number;
  readonly #counters = {
    blocksPlugged: 0,
    blocksUnplugged: 0,
    refusedRequests: 0,
    discardFailures: 0,
  };

  constructor({ id, memory, region, requestedBytes, createQueues }: MemDeviceOptions) {
    super(createQueues, { threadName: 'tsvm-mem', readableBytesMax: REQUEST_BYTES });
    this.id = id;
    this.#memory = memory;
    this.#region = region;
    this.#blocks = new BlockMap(region.sizeBytes / MEM_BLOCK_BYTES);
    this.#requestedBytes = requestedBytes;
    this.#describe();
  }

  get requestedBytes(): number {
    return this.#requestedBytes;
  }

  get pluggedBytes(): number {
    return this.#blocks.pluggedCount * MEM_BLOCK_BYTES;
  }

  /** @param bytes whole blocks, at most the region's size */
  request(bytes: number): void {
    this.#requestedBytes = bytes;
    this.#describe();
    this.configChanged();
  }

  override statistics(): Readonly<Record<string, number>> {
    return { ...super.statistics(), ...this.#counters };
  }

  gauges(): Readonly<Record<string, number>> {
    const { requestedBytes, pluggedBytes } = this;
    return { requestedBytes, pluggedBytes };
  }

  save(): StateValue {
    return { requestedBytes: this.#requestedBytes, blocks: this.#blocks.pack() };
  }

  load(state: StateReader): void {
    const requestedBytes = state.number('requestedBytes', this.#region.sizeBytes);
    if (requestedBytes % MEM_BLOCK_BYTES !== 0) state.fail('requestedBytes is no number of blocks');
    const { packedBytes } = this.#blocks;
    this.#blocks.unpack(state.bytes('blocks', packedBytes, packedBytes));
    this.#requestedBytes = requestedBytes;
    this.#describe();
  }

  protected override serve(chain: Chain): void {
    const request = parseRequest(chain.readable);
    const response = request === undefined ? this.#refuse() : this.#answer(request);
    this.finish(chain, response.subarray(0, chain.writableBytes));
  }

  #answer(request: MemRequest): Uint8Array {
    if (request.type === VIRTIO_MEM_REQ_UNPLUG_ALL) return this.#unplugAll();
    const run = this.#runOf(request);
    if (run === undefined) return this.#refuse();
    const state = this.#blocks.stateOf(run);
    switch (request.type) {
      case VIRTIO_MEM_REQ_STATE:
        return composeResponse(VIRTIO_MEM_RESP_ACK, state);
      case VIRTIO_MEM_REQ_PLUG:
        return state === 'unplugged' ? this.#plug(run) : this.#refuse();
      case VIRTIO_MEM_REQ_UNPLUG:
        return state === 'plugged' ? this.#unplug(run) : this.#refuse();
      default:
        return this.#refuse();
    }
  }

  /** 5.15.6.1: undefined unless the range is of whole blocks in the region, and at least one. */
  #runOf({ gpa, blocks }: MemRequest): BlockRun | undefined {
    const offset = gpa - this.#region.gpa;
    const isInside = offset >= 0 && offset + blocks * MEM_BLOCK_BYTES <= this.#region.sizeBytes;
    if (blocks === 0 || !isInside || offset % MEM_BLOCK_BYTES !== 0) return undefined;
    return { first: offset / MEM_BLOCK_BYTES, count: blocks };
  }

  /** Never more than was requested: 5.15.6.2. */
  #plug(run: BlockRun): Uint8Array {
    const pluggedBytes = this.pluggedBytes + run.count * MEM_BLOCK_BYTES;
    if (pluggedBytes > this.#requestedBytes) return composeResponse(VIRTIO_MEM_RESP_NACK);
    this.#blocks.change(run, true);
    this.#counters.blocksPlugged += run.count;
    this.#describe();
    return composeResponse(VIRTIO_MEM_RESP_ACK);
  }

  #unplug(run: BlockRun): Uint8Array {
    if (!this.#discard(run)) return composeResponse(VIRTIO_MEM_RESP_BUSY);
    this.#blocks.change(run, false);
    this.#counters.blocksUnplugged += run.count;
    this.#describe();
    return composeResponse(VIRTIO_MEM_RESP_ACK);
  }

  #unplugAll(): Uint8Array {
    for (const run of this.#blocks.pluggedRuns()) {
      if (!this.#discard(run)) return composeResponse(VIRTIO_MEM_RESP_BUSY);
    }
    this.#counters.blocksUnplugged += this.#blocks.pluggedCount;
    this.#blocks.unplugAll();
    this.#describe();
    return composeResponse(VIRTIO_MEM_RESP_ACK);
  }

  /** False when the host refuses. */
  #discard({ first, count }: BlockRun): boolean {
    try {
      const gpa = this.#region.gpa + first * MEM_BLOCK_BYTES;
      this.#memory.discard(gpa, count * MEM_BLOCK_BYTES);
      return true;
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      this.#counters.discardFailures += 1;
      return false;
    }
  }

  #refuse(): Uint8Array {
    this.#counters.refusedRequests += 1;
    return composeResponse(VIRTIO_MEM_RESP_ERROR);
  }

  #describe(): void {
    const { gpa, sizeBytes } = this.#region;
    this.config.set(BLOCK_SIZE, MEM_BLOCK_BYTES);
    this.config.set(ADDR, gpa);
    this.config.set(REGION_SIZE, sizeBytes);
    this.config.set(USABLE_REGION_SIZE, sizeBytes);
    this.config.set(PLUGGED_SIZE, this.pluggedBytes);
    this.config.set(REQUESTED_SIZE, this.#requestedBytes);
  }
}
