/**
 * Messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst). Numbers have the host's byte
 * order, little-endian.
 */

export const VhostUserRequest = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  SET_MEM_TABLE: 5,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
} as const;

/** A feature bit of vhost-user itself: protocol features can be negotiated. */
export const VHOST_USER_F_PROTOCOL_FEATURES = 1n << 30n;
/** The front end can ask for the number of queues. */
export const VHOST_USER_PROTOCOL_F_MQ = 1n << 0n;

export const HEADER_BYTES = 12;
const VERSION = 1;
const FLAG_REPLY = 4;

/** Memory that the backend maps. */
export interface VhostMemoryRegion {
  /** Guest-physical address, which also serves as the user address of rings. */
  readonly address: number;
  readonly sizeBytes: number;
  /** A file whose offset 0 is the start of the region. */
  readonly fd: number;
}

/** A ring for the backend. */
export interface VhostRing {
  readonly descriptorAddress: number;
  readonly availableAddress: number;
  readonly usedAddress: number;
  /** Eventfds. */
  readonly kickFd: number;
  readonly callFd: number;
}

export interface VhostUserMessage {
  readonly request: number;
  readonly payload: Uint8Array;
  readonly fds: readonly number[];
}

function u64s(...values: readonly (number | bigint)[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values, BigInt).buffer);
}

function u32s(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

export function message(
  request: number,
  payload: Uint8Array = new Uint8Array(),
  fds: readonly number[] = [],
): VhostUserMessage {
  return { request, payload, fds };
}

export function numberMessage(request: number, value: bigint): VhostUserMessage {
  return message(request, u64s(value));
}

export function memoryTableMessage(regions: readonly VhostMemoryRegion[]): VhostUserMessage {
  const table = regions.flatMap(({ address, sizeBytes }) => [address, sizeBytes, address, 0]);
  const payload = Buffer.concat([u32s(regions.length, 0), u64s(...table)]);
  const fds = regions.map(({ fd }) => fd);
  return message(VhostUserRequest.SET_MEM_TABLE, payload, fds);
}

/** The messages that start a ring of `size` descriptors whose indices are 0. */
export function ringMessages(index: number, size: number, ring: VhostRing): VhostUserMessage[] {
  const { descriptorAddress, usedAddress, availableAddress, kickFd, callFd } = ring;
  const addresses = u64s(descriptorAddress, usedAddress, availableAddress, 0);
  return [
    message(VhostUserRequest.SET_VRING_NUM, u32s(index, size)),
    message(VhostUserRequest.SET_VRING_BASE, u32s(index, 0)),
    message(VhostUserRequest.SET_VRING_ADDR, Buffer.concat([u32s(index, 0), addresses])),
    message(VhostUserRequest.SET_VRING_CALL, u64s(index), [callFd]),
    message(VhostUserRequest.SET_VRING_KICK, u64s(index), [kickFd]),
    message(VhostUserRequest.SET_VRING_ENABLE, u32s(index, 1)),
  ];
}

export function encode({ request, payload }: VhostUserMessage): Uint8Array {
  return Buffer.concat([u32s(request, VERSION, payload.length), payload]);
}

/** A reply with a number, the only kind that this front end requests. */
export interface NumberReply {
  readonly request: number;
  readonly value: bigint;
}

export const REPLY_BYTES = HEADER_BYTES + 8;

/** @returns undefined for anything else */
export function decodeNumberReply(bytes: Uint8Array): NumberReply | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length !== REPLY_BYTES) return undefined;
  const flags = view.getUint32(4, true);
  if ((flags & 3) !== VERSION || (flags & FLAG_REPLY) === 0 || view.getUint32(8, true) !== 8) {
    return undefined;
  }
  return { request: view.getUint32(0, true), value: view.getBigUint64(HEADER_BYTES, true) };
}
