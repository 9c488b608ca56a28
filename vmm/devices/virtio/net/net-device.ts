import type { StateReader, StateValue } from '../../device-state.ts';
import type { ActivationContext, VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type QueueWorker, QueueWorkerDevice } from '../queue-worker.ts';
import type { CreateScriptQueues } from '../script-queues.ts';
import { NetConfig } from './net-config.ts';
import { NetControl } from './net-control.ts';

/** Feature bits, virtio 1.2, section 5.1.3. */
export const VIRTIO_NET_F_CSUM = 1n << 0n;
export const VIRTIO_NET_F_GUEST_CSUM = 1n << 1n;
export const VIRTIO_NET_F_MTU = 1n << 3n;
export const VIRTIO_NET_F_MAC = 1n << 5n;
export const VIRTIO_NET_F_GUEST_TSO4 = 1n << 7n;
export const VIRTIO_NET_F_GUEST_TSO6 = 1n << 8n;
export const VIRTIO_NET_F_GUEST_ECN = 1n << 9n;
export const VIRTIO_NET_F_HOST_TSO4 = 1n << 11n;
export const VIRTIO_NET_F_HOST_TSO6 = 1n << 12n;
export const VIRTIO_NET_F_HOST_ECN = 1n << 13n;
export const VIRTIO_NET_F_MRG_RXBUF = 1n << 15n;
export const VIRTIO_NET_F_STATUS = 1n << 16n;
export const VIRTIO_NET_F_CTRL_VQ = 1n << 17n;
export const VIRTIO_NET_F_MQ = 1n << 22n;

/**
 * Features offered if the host's end accepts virtio-net headers: checksum and segmentation offload in
 * both directions.
 */
const OFFLOADS =
  VIRTIO_NET_F_CSUM |
  VIRTIO_NET_F_GUEST_CSUM |
  VIRTIO_NET_F_GUEST_TSO4 |
  VIRTIO_NET_F_GUEST_TSO6 |
  VIRTIO_NET_F_GUEST_ECN |
  VIRTIO_NET_F_HOST_TSO4 |
  VIRTIO_NET_F_HOST_TSO6 |
  VIRTIO_NET_F_HOST_ECN;

const QUEUE_SIZE = 256;
const CONTROL_QUEUE_SIZE = 64;

/**
 * Number of virtqueues of a device.
 * @param pairs number of queue pairs
 */
export function netQueueCount(pairs: number): number {
  return pairs > 1 ? 2 * pairs + 1 : 2;
}

/** The host's end of the link, with one port per queue pair. */
export interface NetLink {
  /** It accepts virtio-net headers, so that frames need neither checksums nor segmentation. */
  readonly offloads: boolean;
  /** Frames are dropped while the link is down. */
  setUp(up: boolean): void;
  /** Activates the first `pairs` ports and deactivates the others. */
  setPairs(pairs: number): void;
}

export interface NetDeviceOptions {
  readonly id: string;
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** Bytes; undefined if the driver chooses. */
  readonly mtu: number | undefined;
  readonly link: NetLink;
  /** Whether the cable is initially plugged in; default true. */
  readonly linkUp?: boolean;
  /** Number of queue pairs, at least 1. */
  readonly queuePairs: number;
  /** Creates the worker of a pair. */
  readonly createWorker: (pair: number, onBroken: (reason: string) => void) => QueueWorker;
  /** Creates the control queue of a device with several pairs. */
  readonly createQueues: CreateScriptQueues;
}

/** A network device (virtio 1.2, section 5.1). The queue workers transfer the frames. */
export class NetDevice extends QueueWorkerDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId = 1;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly config: NetConfig;
  readonly #link: NetLink;
  readonly #queuePairs: number;
  #activePairs = 1;

  constructor(options: NetDeviceOptions) {
    const { queuePairs, link } = options;
    const layout = { multiqueue: false };
    const control =
      queuePairs > 1
        ? new NetControl(options.createQueues, (pairs) => this.#setPairs(pairs))
        : undefined;
    super(
      (onBroken, worker) =>
        control !== undefined && worker === queuePairs
          ? control.createWorker(onBroken, worker)
          : options.createWorker(worker, onBroken),
      {
        workers: control === undefined ? queuePairs : queuePairs + 1,
        // The control queue follows the pairs; without VIRTIO_NET_F_MQ there is one (5.1.2).
        workerOf: (queue) =>
          queue >= 2 * (layout.multiqueue ? queuePairs : 1) ? queuePairs : queue >> 1,
      },
    );
    this.#layout = layout;
    this.id = options.id;
    this.#link = link;
    this.#queuePairs = queuePairs;
    this.queueSizes = [
      ...new Array<number>(2 * queuePairs).fill(QUEUE_SIZE),
      ...(control === undefined ? [] : [CONTROL_QUEUE_SIZE]),
    ];
    this.features =
      QUEUE_FEATURES |
      VIRTIO_F_VERSION_1 |
      VIRTIO_NET_F_MAC |
      VIRTIO_NET_F_STATUS |
      VIRTIO_NET_F_MRG_RXBUF |
      (options.mtu === undefined ? 0n : VIRTIO_NET_F_MTU) |
      (link.offloads ? OFFLOADS : 0n) |
      (control === undefined ? 0n : VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_MQ);
    this.config = new NetConfig({ mac: options.mac, queuePairs, mtu: options.mtu ?? 0 });
    this.config.linkUp = options.linkUp ?? true;
    link.setPairs(1);
  }

  readonly #layout: { multiqueue: boolean };

  override activate(context: ActivationContext): void {
    this.#layout.multiqueue = (context.features & VIRTIO_NET_F_MQ) !== 0n;
    this.#link.setUp(this.config.linkUp);
    super.activate(context);
  }

  override async reset(): Promise<void> {
    await super.reset();
    // "The device MUST NOT queue packets on receive queues other than the first" (5.1.6.5.5.2).
    this.#setPairs(1);
  }

  /** Plugs or unplugs the cable. The driver is told, and frames are dropped while it is unplugged. */
  setLink(up: boolean): void {
    if (this.config.linkUp === up) return;
    this.config.linkUp = up;
    this.#link.setUp(up);
    this.configChanged();
  }

  save(): StateValue {
    return { activePairs: this.#activePairs };
  }

  load(state: StateReader): void {
    const pairs = state.number('activePairs', this.#queuePairs);
    if (!this.#setPairs(pairs)) state.fail(`${pairs} pairs of queues are in use`);
  }

  #setPairs(pairs: number): boolean {
    if (pairs < 1 || pairs > this.#queuePairs) return false;
    this.#activePairs = pairs;
    this.#link.setPairs(pairs);
    return true;
  }
}
