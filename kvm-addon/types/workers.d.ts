/** Threads that serve virtqueues, and the ends of devices on the host that they serve them from. */

import type { Disk, DiskProperties } from '../../vmm/backends/disk/machine/disk.ts';
import type { NativeEventFd, NativeMemory, NativeRegisterBank } from './vm.d.ts';

export interface NativeDiskOptions extends DiskProperties {
  /** Called on the JavaScript thread, once per batch of requests, or when the stock is low. */
  onScriptRequests: () => void;
}

/** The data plane of a disk, shared by the queue workers of one device. */
export const NativeDisk: new (options: NativeDiskOptions) => Disk;

/** A virtqueue as configured by the driver. `start` validates it. */
export interface NativeQueueConfig {
  /** Queue index; less than the number of `host.kicks`. */
  index: number;
  size: number;
  descriptorGpa: number;
  availableGpa: number;
  usedGpa: number;
  /** Index in `host.interrupts` of the used-buffer interrupt. Default 0; null: no interrupt. */
  interrupt?: number | null;
}

export interface NativeQueueStart {
  /** At most 64. */
  queues: readonly NativeQueueConfig[];
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  eventIdx: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  indirect: boolean;
  /** The low 32 negotiated feature bits; the device-specific ones are used. */
  features: number;
}

/** The machine's resources for a queue worker. */
export interface NativeQueueHost {
  memory: NativeMemory;
  /** The kick event of each queue. */
  kicks: readonly NativeEventFd[];
  /** At most 64. */
  interrupts: readonly NativeEventFd[];
  /** Bit 0 of this word is set before each used-buffer interrupt (virtio-mmio InterruptStatus). */
  interruptStatus?: { bank: NativeRegisterBank; word: number };
  /** The guest broke a queue: the worker has stopped, and the device needs a reset. */
  onBroken: (reason: string) => void;
}

/** A block device (virtio 1.2, section 5.2). */
export interface NativeBlockOptions {
  device: 'block';
  disk: Disk;
  engine: 'io_uring' | 'threads';
  rateLimiter?: NativeRateLimiter;
  /** At most 20 bytes of ASCII. */
  id: string;
  /**
   * Limits advertised in config space and enforced by the worker. A discard or write-zeroes request
   * has one segment (`max_discard_seg` = `max_write_zeroes_seg` = 1), and `unmap` is honoured
   * (`write_zeroes_may_unmap` = 1). The worker uses the features FLUSH, DISCARD and WRITE_ZEROES.
   * Without FLUSH, each write is made stable before it completes (5.2.6.2).
   */
  segMax: number;
  maxDiscardSectors: number;
  maxWriteZeroesSectors: number;
}

/** An entropy device (virtio 1.2, section 5.4). */
export interface NativeEntropyOptions {
  device: 'entropy';
}

/** Limits how much passes on average and at once; see `src/util/rate_limiter.h`. */
export class NativeRateLimiter {
  /** 0: no limit; for a burst: that of a tenth of a second. The limits count at once. */
  set(limits: {
    bytesPerSecond: number;
    burstBytes: number;
    operationsPerSecond: number;
    burstOperations: number;
  }): void;
}

/** The host's end of a network link; see `src/backend/net_port.h`. */
export class NativeNetPort {
  constructor(options: {
    /** A queue of a tap device, or a stream socket with a length before each frame. */
    kind: 'tap' | 'stream';
    /** Non-blocking for a tap device. The port's from now on. */
    fd: number;
    /** Six bytes: frames from the guest with another source address are dropped. */
    source?: Uint8Array | undefined;
    /**
     * The port serves no more. EPIPE: the other end has closed the connection; EPROTO: it sent what
     * is no frame; EBADFD: the tap device was deleted.
     */
    onFailure: (code: 'EPIPE' | 'EPROTO' | 'EBADFD') => void;
  });
  /** Frames are dropped, both ways, while the link is down. Initially up. */
  setLink(up: boolean): void;
  /** For a tap device of several queues: whether the host passes frames to this one. */
  setQueue(attached: boolean): void;
  /** Closes the descriptor. Throws EBUSY while a worker runs. Idempotent. */
  close(): void;
}

/**
 * A pair of queues of a network device (virtio 1.2, section 5.1): those of the worker, of which one
 * with an even index receives and one with an odd index transmits.
 */
export interface NativeNetOptions {
  device: 'net';
  port: NativeNetPort;
  receiveLimiter?: NativeRateLimiter;
  transmitLimiter?: NativeRateLimiter;
}

/** A descriptor chain to be served by TypeScript, at any time and in any order. */
export interface NativeChain {
  id: number;
  /** Index of the queue. */
  queue: number;
  /** A copy of the first `readableBytesMax` bytes of the device-readable part. */
  readable: Uint8Array;
  /** Total size of the device-readable and the device-writable part in bytes. */
  readableBytes: number;
  writableBytes: number;
}

/** A buffer of a chain. The guest may change its contents at any time. */
export interface NativeChainBuffer {
  gpa: number;
  lengthBytes: number;
  writable: boolean;
}

/** The queues of a device that TypeScript serves; see `src/virtio/script_queue.h`. */
export class NativeScriptQueues {
  constructor(options: {
    /** Name of the worker's thread, at most 15 bytes. */
    threadName: string;
    /** Maximum number of bytes copied from a chain's device-readable part. */
    readableBytesMax: number;
    /** Called on the JavaScript thread, once per batch, when chains have arrived. */
    onChains: () => void;
  });
  /** Takes the chains that have arrived. Pass each to {@link finish} or {@link giveBack}. */
  takeChains(): NativeChain[];
  /** The buffers of a taken chain: the device-readable, then the device-writable ones. */
  buffers(id: number): NativeChainBuffer[];
  /**
   * Returns chains to the driver; `data` is copied to the start of the writable part. Throws EINVAL
   * for an unknown chain or too much data; the chains before it have been returned then.
   */
  finish(answers: readonly { id: number; data?: Uint8Array }[]): void;
  /**
   * Gives a chain back unused: it stays in the available ring and is taken again when a chain of
   * its queue is wanted. If a newer chain of the queue has been finished, it is instead returned to
   * the driver with length 0.
   */
  giveBack(id: number): void;
  /** Sets how many more chains of a queue to take. Initially Infinity. */
  want(queue: number, chains: number): void;
}

/** A device served by TypeScript. Each NativeScriptQueues belongs to one worker. */
export interface NativeScriptOptions {
  device: 'script';
  queues: NativeScriptQueues;
}

/** A connection of the guest to a port of {@link NativeVsock.listen}. */
export interface NativeVsockConnection {
  /** Port of this process. */
  port: number;
  guestPort: number;
  /** A connected stream socket with O_CLOEXEC and O_NONBLOCK. The receiver closes it. */
  fd: number;
}

/** The connections of a socket device; see `src/virtio/vsock.h`. */
export class NativeVsock {
  constructor(options: {
    guestCid: number;
    /** Path of the socket files, at most 96 bytes; empty for none. */
    path: string;
    /** The socket listening at `path`, or null. Close it after {@link close}. */
    listener: number | null;
    /** Called on the JavaScript thread, once per batch, when connections were accepted. */
    onAccepted: () => void;
  });
  /**
   * A new socket that is served like a connection to the socket file. The caller closes it.
   */
  connect(): number;
  /**
   * Hands over a listening stream socket with O_NONBLOCK: each of its connections leads to a port of
   * the guest. {@link close} closes it.
   */
  publish(fd: number, guestPort: number): void;
  /** Accepts the guest's connections to a port. Throws EADDRINUSE. */
  listen(port: number): void;
  unlisten(port: number): void;
  takeAccepted(): NativeVsockConnection[];
  /**
   * Closes all connections; `tellGuest`: with an event for the driver (5.10.6.7). Throws EBUSY while
   * a worker runs.
   */
  reset(tellGuest: boolean): void;
  /** Throws EBUSY while a worker runs. Idempotent. */
  close(): void;
}

/** A socket device (virtio 1.2, section 5.10). */
export interface NativeSocketOptions {
  device: 'socket';
  vsock: NativeVsock;
}

/** A shadow ring, by its addresses for the backend, and its eventfds. */
export interface NativeVhostRing {
  descriptorAddress: number;
  availableAddress: number;
  usedAddress: number;
  /** The backend waits for it. */
  kickFd: number;
  /** The backend signals it. */
  callFd: number;
}

/** Queues that another process serves; see `src/virtio/vhost_queues.h`. */
export class NativeVhostQueues {
  constructor(options: {
    /** Name of the worker's thread, at most 15 bytes. */
    threadName: string;
    /** 1 to 8. */
    queueCount: number;
    /** A power of two, up to 1024. */
    queueSize: number;
    /** Where the shadow rings are for the backend; guest memory is at guest-physical addresses. */
    ringsAddress: number;
  });
  /** The memory of the shadow rings: a memfd, which stays this object's. */
  shared(): { fd: number; bytes: number };
  /** The shadow ring of each queue. */
  rings(): NativeVhostRing[];
  /** The backend is gone and touches nothing any more: the worker ends, with a broken queue. */
  fail(): void;
  /** Empties the rings for a new backend. Throws EBUSY while the worker runs. */
  reset(): void;
  /** Throws EBUSY while the worker runs. Idempotent. */
  close(): void;
}

/** A device that another process serves (vhost-user). */
export interface NativeVhostOptions {
  device: 'vhost';
  queues: NativeVhostQueues;
}

/**
 * The thread that serves the queues of one device. `start` continues from the index in each used
 * ring: 0 after a device reset, or where a pause left it.
 */
export class NativeQueueWorker {
  constructor(
    options: { host: NativeQueueHost } & (
      | NativeBlockOptions
      | NativeEntropyOptions
      | NativeNetOptions
      | NativeScriptOptions
      | NativeSocketOptions
      | NativeVhostOptions
    ),
  );
  /**
   * Starts the thread. Throws EINVAL when a ring is misaligned, not in RAM or of an invalid size,
   * EBUSY when the thread is running.
   */
  start(start: NativeQueueStart): void;
  /** Stops taking chains; resolves when none is in flight and the thread has ended. */
  stop(): Promise<void>;
  /** Counters since the worker was created. */
  statistics(): Record<string, number>;
  /** Counters of each queue by its index, of those that this worker serves. */
  queueStatistics(): { chains: number; notifications: number }[];
}
