/** Requests of virtio-blk (virtio 1.2, section 5.2.6), as a driver lays them out in guest memory. */
import { closeDisk, type Disk, type DiskBackend } from '../../vmm/backends/disk/machine/disk.ts';
import { BlockDevice } from '../../vmm/devices/virtio/block/block-device.ts';
import { blockWorker, type DiskEngine } from '../../vmm/kvm/queue-workers.ts';
import { KvmRateLimiter } from '../../vmm/kvm/rate-limiter.ts';
import { DiskSlot } from '../../vmm/machine/devices/disk-slot.ts';
import { FakeDriver } from './fake-driver.ts';
import type { Buffer } from './split-ring.ts';

// linux/virtio_blk.h
export const T_IN = 0;
export const T_OUT = 1;
export const T_FLUSH = 4;
export const T_GET_ID = 8;
export const T_DISCARD = 11;
export const T_WRITE_ZEROES = 13;
export const S_OK = 0;
export const S_IOERR = 1;
export const S_UNSUPP = 2;
/** A status that no device writes. */
export const S_UNTOUCHED = 0xcc;

const HEADER_BYTES = 16;

export interface BlockRequest {
  readonly type: number;
  readonly sector?: number | bigint;
  /** Sizes of the pieces of the device-readable and device-writable parts. */
  readonly out?: readonly Uint8Array[];
  readonly in?: readonly number[];
  readonly queue?: number;
  readonly indirect?: boolean;
}

/** A request in flight: its buffers in guest memory. */
export interface Submitted {
  readonly head: number;
  readonly queue: number;
  readonly statusGpa: number;
  readonly in: readonly Buffer[];
}

export interface BlockAnswer {
  readonly status: number;
  /** Number of written bytes according to the used ring. */
  readonly usedLength: number;
  readonly data: Uint8Array;
}

export class BlockDriver extends FakeDriver {
  readonly disk: Disk;
  readonly slot: DiskSlot;
  declare readonly device: BlockDevice;
  /** Failures of requests. */
  readonly scriptErrors: unknown[];

  constructor(options: {
    backend: DiskBackend;
    engine: DiskEngine;
    queueCount?: number;
    workerCount?: number;
    serialId?: string;
  }) {
    const { backend, engine, queueCount = 1, workerCount = 1, serialId = 'test-disk' } = options;
    const scriptErrors: unknown[] = [];
    const slot = new DiskSlot({
      backend,
      contain: (action) => action(),
      onFailure: (failure) => scriptErrors.push(failure),
      onFatal: (error) => {
        throw error;
      },
    });
    const { disk } = slot;
    super(
      queueCount,
      (host) =>
        new BlockDevice({
          id: 'disk0',
          sizeBytes: backend.sizeBytes,
          readOnly: backend.readOnly,
          queueCount,
          workerCount,
          serialId,
          createWorker: blockWorker(host, disk, engine, new KvmRateLimiter({})),
        }),
    );
    this.disk = disk;
    this.slot = slot;
    this.scriptErrors = scriptErrors;
  }

  /** Makes a request available, without a kick. */
  submit(request: BlockRequest): Submitted {
    const queue = request.queue ?? 0;
    const header = this.header(request.type, request.sector ?? 0);
    const out = (request.out ?? []).map((bytes) => this.place(bytes));
    const input = (request.in ?? []).map((length) => ({
      gpa: this.allocate(length),
      length,
      writable: true,
    }));
    const statusGpa = this.allocate(1);
    const chain = [header, ...out, ...input, { gpa: statusGpa, length: 1, writable: true }];
    const ring = this.ring(queue);
    const head = request.indirect
      ? ring.addIndirect(this.memory, this.allocate(chain.length * 16), chain)
      : ring.addChain(chain);
    return { head, queue, statusGpa, in: input };
  }

  /** `struct virtio_blk_outhdr`. */
  header(type: number, sector: number | bigint): Buffer {
    const gpa = this.allocate(HEADER_BYTES);
    const view = this.memory.view(gpa, HEADER_BYTES);
    view.setUint32(0, type, true);
    view.setUint32(4, 0, true);
    view.setBigUint64(8, BigInt(sector), true);
    return { gpa, length: HEADER_BYTES };
  }

  /** Copies bytes to newly allocated memory. */
  place(bytes: Uint8Array): Buffer {
    const gpa = this.allocate(bytes.length);
    this.memory.write(gpa, bytes);
    return { gpa, length: bytes.length };
  }

  status(submitted: Submitted): number {
    return this.memory.slice(submitted.statusGpa, 1)[0] ?? S_UNTOUCHED;
  }

  answer(submitted: Submitted, usedLength: number): BlockAnswer {
    const pieces = submitted.in.map(({ gpa, length }) => this.memory.slice(gpa, length));
    const data = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const piece of pieces) {
      data.set(piece, at);
      at += piece.length;
    }
    return { status: this.status(submitted), usedLength, data };
  }

  /** A single request in its queue: submits it, kicks, waits. */
  async request(request: BlockRequest): Promise<BlockAnswer> {
    const submitted = this.submit(request);
    this.kick(submitted.queue);
    const used = await this.nextUsed(submitted.queue);
    if (used.id !== submitted.head) throw new Error(`head ${used.id} came back`);
    return this.answer(submitted, used.length);
  }

  read(sector: number, length: number): Promise<BlockAnswer> {
    return this.request({ type: T_IN, sector, in: [length] });
  }

  write(sector: number, data: Uint8Array): Promise<BlockAnswer> {
    return this.request({ type: T_OUT, sector, out: [data] });
  }

  /** Replaces the present backend, as a machine does. */
  replace(backend: DiskBackend): Promise<void> {
    return this.device.replaceDisk(async () => {
      await this.slot.replace(backend);
      return backend.sizeBytes;
    });
  }

  override async close(): Promise<void> {
    await this.transport.reset();
    closeDisk(this.disk, this.slot.backend);
    await super.close();
  }
}

/** `struct virtio_blk_discard_write_zeroes`. */
export function range(sector: number, sectors: number, flags = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return new Uint8Array(view.buffer);
}
