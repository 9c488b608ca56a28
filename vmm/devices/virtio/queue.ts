import type { StateReader, StateValue } from '../device-state.ts';

/** A virtqueue as the driver configured it: a split queue (virtio 1.2, section 2.7). */
export interface QueueConfig {
  readonly index: number;
  /** Number of descriptors, a power of two. */
  readonly size: number;
  /** Descriptor table. */
  readonly descriptorGpa: number;
  /** Available ring: the "driver area". */
  readonly availableGpa: number;
  /** Used ring: the "device area". */
  readonly usedGpa: number;
  /** Index of the interrupt for used buffers; absent: the first one; null: none. */
  readonly interrupt?: number | null;
}

/** A 64-bit register that is written in halves. */
export interface SplitAddress {
  low: number;
  high: number;
}

/** A register that holds half of the address of a part of a queue. */
export interface QueueAddressHalf {
  readonly part: 'descriptor' | 'available' | 'used';
  readonly half: keyof SplitAddress;
}

/** The registers with which a driver configures one queue. */
export interface QueueRegisters {
  ready: boolean;
  size: number;
  readonly descriptor: SplitAddress;
  readonly available: SplitAddress;
  readonly used: SplitAddress;
}

/** A queue after a reset; the default size is the maximum. */
export function resetQueue(sizeMax: number): QueueRegisters {
  return {
    ready: false,
    size: sizeMax,
    descriptor: { low: 0, high: 0 },
    available: { low: 0, high: 0 },
    used: { low: 0, high: 0 },
  };
}

export function saveQueue(registers: QueueRegisters): StateValue {
  const { ready, size, descriptor, available, used } = registers;
  return {
    ready,
    size,
    descriptor: { ...descriptor },
    available: { ...available },
    used: { ...used },
  };
}

/** Whether the queue can be served is checked when it is put into service. */
export function loadQueue(state: StateReader): QueueRegisters {
  const address = (name: string): SplitAddress => {
    const halves = state.part(name);
    return { low: halves.number('low', 0xffff_ffff), high: halves.number('high', 0xffff_ffff) };
  };
  return {
    ready: state.boolean('ready'),
    size: state.number('size', 0xffff_ffff),
    descriptor: address('descriptor'),
    available: address('available'),
    used: address('used'),
  };
}

/** Alignment in bytes of the parts of a split queue, section 2.7. */
const DESCRIPTOR_ALIGN = 16;
const AVAILABLE_ALIGN = 2;
const USED_ALIGN = 4;

/**
 * The configuration in the registers, or a text that says why it is invalid. The C code that serves
 * the queue checks whether the rings are in guest memory.
 */
export function queueConfig(
  index: number,
  registers: QueueRegisters,
  sizeMax: number,
): QueueConfig | string {
  const { size } = registers;
  if (size === 0 || size > sizeMax || (size & (size - 1)) !== 0) {
    return `queue ${index}: size ${size} is not a power of two up to ${sizeMax}`;
  }
  const descriptorGpa = joinAddress(registers.descriptor, DESCRIPTOR_ALIGN);
  if (descriptorGpa === undefined) return `queue ${index}: bad descriptor table address`;
  const availableGpa = joinAddress(registers.available, AVAILABLE_ALIGN);
  if (availableGpa === undefined) return `queue ${index}: bad available ring address`;
  const usedGpa = joinAddress(registers.used, USED_ALIGN);
  if (usedGpa === undefined) return `queue ${index}: bad used ring address`;
  return { index, size, descriptorGpa, availableGpa, usedGpa };
}

/** Guest memory is always below 2^53, where a `number` is exact. */
function joinAddress({ low, high }: SplitAddress, align: number): number | undefined {
  const address = high * 2 ** 32 + low;
  if (!Number.isSafeInteger(address) || address % align !== 0) return undefined;
  return address;
}
