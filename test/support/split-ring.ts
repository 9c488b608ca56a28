/**
 * The driver's side of a split virtqueue in guest memory, as in Linux's `virtio_ring.c`. Raw accessors
 * do what no well-behaved driver does.
 */
import type { GuestMemory } from '../../vmm/memory/guest-memory.ts';
import type { RingAddresses } from './mmio-driver.ts';

export const VRING_DESC_F_NEXT = 1;
export const VRING_DESC_F_WRITE = 2;
export const VRING_DESC_F_INDIRECT = 4;
const DESCRIPTOR_BYTES = 16;

export interface Buffer {
  readonly gpa: number;
  readonly length: number;
  /** The device writes it. */
  readonly writable?: boolean;
}

export interface UsedElement {
  readonly id: number;
  readonly length: number;
}

/** Size of a ring of `size` descriptors: its three parts, each in separate pages. */
export function ringBytes(size: number): number {
  return pages(size * 16) + pages(size * 2 + 6) + pages(size * 8 + 6);
}

function words({ buffer, byteOffset, byteLength }: DataView): Uint16Array {
  return new Uint16Array(buffer, byteOffset, byteLength / 2);
}

function pages(bytes: number): number {
  return Math.ceil(bytes / 4096) * 4096;
}

export class SplitRing implements RingAddresses {
  readonly size: number;
  readonly descriptorGpa: number;
  readonly availableGpa: number;
  readonly usedGpa: number;
  readonly #descriptors: DataView;
  /** The rings as words. A DataView might store a word as two bytes, between which the device looks. */
  readonly #available: Uint16Array;
  readonly #usedWords: Uint16Array;
  readonly #used: DataView;
  readonly #free: number[];
  readonly #chains = new Map<number, number[]>();
  #seenUsed = 0;

  /** @param gpa page-aligned, {@link ringBytes} long */
  constructor(memory: GuestMemory, gpa: number, size: number) {
    this.size = size;
    this.descriptorGpa = gpa;
    this.availableGpa = gpa + pages(size * 16);
    this.usedGpa = this.availableGpa + pages(size * 2 + 6);
    this.#descriptors = memory.view(this.descriptorGpa, size * 16);
    this.#available = words(memory.view(this.availableGpa, size * 2 + 6));
    this.#used = memory.view(this.usedGpa, size * 8 + 6);
    this.#usedWords = words(this.#used);
    this.#free = Array.from({ length: size }, (_, index) => index);
    memory.slice(gpa, ringBytes(size)).fill(0);
  }

  /** Writes a descriptor without checks. */
  writeDescriptor(index: number, gpa: number, length: number, flags: number, next: number): void {
    putDescriptor(this.#descriptors, index, gpa, length, flags, next);
  }

  /** Writes the next available entry; {@link setAvailableIdx} makes it available. */
  writeHead(head: number): void {
    Atomics.store(this.#available, 2 + (this.availableIdx % this.size), head);
  }

  /** Makes a head available without checks. */
  offerHead(head: number): void {
    this.writeHead(head);
    this.setAvailableIdx(this.availableIdx + 1);
  }

  get availableIdx(): number {
    return Atomics.load(this.#available, 1);
  }

  setAvailableIdx(index: number): void {
    Atomics.store(this.#available, 1, index & 0xffff);
  }

  /** VRING_AVAIL_F_NO_INTERRUPT, and with EVENT_IDX the index of the next wanted interrupt. */
  setNoInterrupt(flag: boolean): void {
    Atomics.store(this.#available, 0, flag ? 1 : 0);
  }

  setUsedEvent(index: number): void {
    Atomics.store(this.#available, 2 + this.size, index & 0xffff);
  }

  /** With EVENT_IDX: the device wants a kick when this index becomes available. */
  get availableEvent(): number {
    return Atomics.load(this.#usedWords, 2 + this.size * 4);
  }

  get usedIdx(): number {
    return Atomics.load(this.#usedWords, 1);
  }

  /** Adds a chain and makes it available. @returns its head. Throws if there are too few descriptors. */
  addChain(buffers: readonly Buffer[]): number {
    if (buffers.length > this.#free.length) throw new Error('the ring is full');
    const indices = this.#free.splice(0, buffers.length);
    buffers.forEach((buffer, position) => {
      const next = indices[position + 1];
      const flags =
        (buffer.writable ? VRING_DESC_F_WRITE : 0) | (next === undefined ? 0 : VRING_DESC_F_NEXT);
      this.writeDescriptor(indices[position] ?? 0, buffer.gpa, buffer.length, flags, next ?? 0);
    });
    return this.#offerChain(indices);
  }

  /** Adds a chain as an indirect table at `tableGpa`. */
  addIndirect(memory: GuestMemory, tableGpa: number, buffers: readonly Buffer[]): number {
    const table = memory.view(tableGpa, buffers.length * DESCRIPTOR_BYTES);
    buffers.forEach(({ gpa, length, writable }, index) => {
      const last = index === buffers.length - 1;
      const flags = (writable ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT);
      putDescriptor(table, index, gpa, length, flags, last ? 0 : index + 1);
    });
    const [head] = this.#free.splice(0, 1);
    if (head === undefined) throw new Error('the ring is full');
    this.writeDescriptor(head, tableGpa, table.byteLength, VRING_DESC_F_INDIRECT, 0);
    return this.#offerChain([head]);
  }

  /** Takes the next used element and frees its descriptors. */
  takeUsed(): UsedElement | undefined {
    if (this.#seenUsed === this.usedIdx) return undefined;
    const at = 4 + (this.#seenUsed % this.size) * 8;
    this.#seenUsed = (this.#seenUsed + 1) & 0xffff;
    const id = this.#used.getUint32(at, true);
    this.#free.push(...(this.#chains.get(id) ?? []));
    this.#chains.delete(id);
    return { id, length: this.#used.getUint32(at + 4, true) };
  }

  #offerChain(indices: number[]): number {
    const head = indices[0] ?? 0;
    this.#chains.set(head, indices);
    this.offerHead(head);
    return head;
  }
}

function putDescriptor(
  table: DataView,
  index: number,
  gpa: number,
  length: number,
  flags: number,
  next: number,
): void {
  const at = index * DESCRIPTOR_BYTES;
  table.setBigUint64(at, BigInt(gpa), true);
  table.setUint32(at + 8, length, true);
  table.setUint16(at + 12, flags, true);
  table.setUint16(at + 14, next, true);
}
