import { ConfigSpace } from '../config-space.ts';
import type { ActivationContext, VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type Chain, type CreateScriptQueues, ScriptQueueDevice } from '../script-queues.ts';
import { type BalloonStatistics, parseStatistics } from './balloon-statistics.ts';
import { pageRanges } from './page-ranges.ts';

/** Virtio 1.2, section 5.5.3. */
export const VIRTIO_BALLOON_F_STATS_VQ = 1n << 1n;
export const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 1n << 2n;
export const VIRTIO_BALLOON_F_PAGE_REPORTING = 1n << 5n;

/** 5.5.6: "the device MUST be in units of 4096 bytes", whatever pages the guest has. */
export const BALLOON_PAGE_BYTES = 4096;
const PFN_BYTES = 4;

/** 5.5.4: struct virtio_balloon_config. */
const NUM_PAGES = { offset: 0, width: 4 } as const;
const ACTUAL = { offset: 4, width: 4 } as const;
const CONFIG_BYTES = 8;

/** 5.5.2: inflateq, deflateq, statsq, free_page_vq, reporting_vq. */
export const BALLOON_QUEUES = 5;
const INFLATE = 0;
const DEFLATE = 1;
const STATS = 2;
const QUEUE_SIZE = 128;

/** Page numbers of a request that are used; Linux sends 256. */
const READABLE_MAX_BYTES = 4096 * PFN_BYTES;
/** A guest that does not answer gets no more of the host's patience. */
const STATISTICS_TIMEOUT_MS = 1_000;

/** Guest memory whose pages can be given back to the host. */
export interface BalloonMemory {
  contains(gpa: number, lengthBytes: number): boolean;
  /** Releases whole pages. They are read as zeroes, or as the file that is mapped there. */
  discard(gpa: number, lengthBytes: number): void;
}

export interface BalloonOptions {
  readonly id: string;
  readonly memory: BalloonMemory;
  readonly createQueues: CreateScriptQueues;
}

/**
 * A memory balloon (virtio 1.2, section 5.5): takes pages from the guest, and free pages that the
 * guest reports, and gives their memory back to the host.
 */
export class BalloonDevice extends ScriptQueueDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId = 5;
  readonly features =
    QUEUE_FEATURES |
    VIRTIO_F_VERSION_1 |
    VIRTIO_BALLOON_F_STATS_VQ |
    VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
    VIRTIO_BALLOON_F_PAGE_REPORTING;
  readonly queueSizes = Array.from({ length: BALLOON_QUEUES }, () => QUEUE_SIZE);
  readonly config = new ConfigSpace(CONFIG_BYTES, { variable: true });
  readonly #memory: BalloonMemory;
  #hasStatsQueue = false;
  /** The buffer of statistics that waits until new ones are wanted. */
  #statsChain: Chain | undefined;
  #statistics: BalloonStatistics = {};
  #onStatistics = Promise.withResolvers<void>();
  readonly #counters = { inflatedBytes: 0, reportedBytes: 0, refusedPages: 0, discardFailures: 0 };

  constructor({ id, memory, createQueues }: BalloonOptions) {
    super(createQueues, { threadName: 'tsvm-balloon', readableBytesMax: READABLE_MAX_BYTES });
    this.id = id;
    this.#memory = memory;
  }

  get targetBytes(): number {
    return this.config.get(NUM_PAGES) * BALLOON_PAGE_BYTES;
  }

  get actualBytes(): number {
    return this.config.get(ACTUAL) * BALLOON_PAGE_BYTES;
  }

  get lastStatistics(): BalloonStatistics {
    return this.#statistics;
  }

  /** @param bytes below 2^44, rounded down to whole pages */
  setTarget(bytes: number): void {
    this.config.set(NUM_PAGES, Math.floor(bytes / BALLOON_PAGE_BYTES));
    this.configChanged();
  }

  /** Asks the guest for statistics. Resolves when it has answered, or after a time-out. */
  async refreshStatistics(): Promise<void> {
    const chain = this.#statsChain;
    if (chain === undefined) return;
    this.#statsChain = undefined;
    this.#onStatistics = Promise.withResolvers();
    const { promise, resolve } = this.#onStatistics;
    const timer = setTimeout(resolve, STATISTICS_TIMEOUT_MS);
    // 5.5.6.3: the device returns the buffer to ask for statistics.
    this.finish(chain);
    await promise;
    clearTimeout(timer);
  }

  override activate(context: ActivationContext): void {
    // Without that queue, Linux moves the following ones down by one.
    this.#hasStatsQueue = (context.features & VIRTIO_BALLOON_F_STATS_VQ) !== 0n;
    super.activate(context);
  }

  /** 5.5.4: a driver writes `actual` only. */
  writeConfig(offset: number, width: number, value: number): void {
    if (offset === ACTUAL.offset && width === ACTUAL.width) this.config.set(ACTUAL, value);
  }

  override statistics(): Readonly<Record<string, number>> {
    return { ...super.statistics(), ...this.#counters };
  }

  gauges(): Readonly<Record<string, number>> {
    const { targetBytes, actualBytes } = this;
    return { targetBytes, actualBytes };
  }

  protected override serve(chain: Chain): void {
    if (chain.queue === STATS && this.#hasStatsQueue) {
      this.#takeStatistics(chain);
      return;
    }
    if (chain.queue === INFLATE) this.#inflate(chain);
    else if (chain.queue !== DEFLATE) this.#takeReport(chain);
    // A page that leaves the balloon needs nothing: its memory comes with its next use.
    this.finish(chain);
  }

  protected override onStop(): void {
    // It comes again, with what the guest last told.
    if (this.#statsChain !== undefined) this.giveBack(this.#statsChain);
    this.#statsChain = undefined;
    this.#onStatistics.resolve();
  }

  #takeStatistics(chain: Chain): void {
    if (this.#statsChain !== undefined) this.finish(this.#statsChain);
    this.#statsChain = chain;
    this.#statistics = parseStatistics(chain.readable);
    this.#onStatistics.resolve();
  }

  #inflate({ readable }: Chain): void {
    const view = new DataView(readable.buffer, readable.byteOffset, readable.byteLength);
    const pages = Uint32Array.from(
      { length: Math.floor(readable.byteLength / PFN_BYTES) },
      (_, i) => view.getUint32(i * PFN_BYTES, true),
    );
    for (const { first, count } of pageRanges(pages)) {
      const lengthBytes = count * BALLOON_PAGE_BYTES;
      if (this.#discard(first * BALLOON_PAGE_BYTES, lengthBytes)) {
        this.#counters.inflatedBytes += lengthBytes;
      }
    }
  }

  /** 5.5.6.7: buffers of free pages. Only whole pages in them are discarded. */
  #takeReport(chain: Chain): void {
    for (const { gpa, lengthBytes, writable } of this.buffers(chain)) {
      const start = Math.ceil(gpa / BALLOON_PAGE_BYTES) * BALLOON_PAGE_BYTES;
      const end = Math.floor((gpa + lengthBytes) / BALLOON_PAGE_BYTES) * BALLOON_PAGE_BYTES;
      if (writable && end > start && this.#discard(start, end - start)) {
        this.#counters.reportedBytes += end - start;
      }
    }
  }

  /** False for pages outside of memory, and when the host refuses. */
  #discard(gpa: number, lengthBytes: number): boolean {
    if (!this.#memory.contains(gpa, lengthBytes)) {
      this.#counters.refusedPages += lengthBytes / BALLOON_PAGE_BYTES;
      return false;
    }
    try {
      this.#memory.discard(gpa, lengthBytes);
      return true;
    } catch {
      this.#counters.discardFailures += 1;
      return false;
    }
  }
}
