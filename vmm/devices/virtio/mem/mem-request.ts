/** Requests of a driver and their answers: virtio 1.2, section 5.15.6. */

export const VIRTIO_MEM_REQ_PLUG = 0;
export const VIRTIO_MEM_REQ_UNPLUG = 1;
export const VIRTIO_MEM_REQ_UNPLUG_ALL = 2;
export const VIRTIO_MEM_REQ_STATE = 3;

export const VIRTIO_MEM_RESP_ACK = 0;
/** The request is valid, but not now: the driver has as much memory as was requested. */
export const VIRTIO_MEM_RESP_NACK = 1;
/** The host cannot do it now. */
export const VIRTIO_MEM_RESP_BUSY = 2;
/** The request is invalid. */
export const VIRTIO_MEM_RESP_ERROR = 3;

const STATES = ['plugged', 'unplugged', 'mixed'] as const;
export type BlockState = (typeof STATES)[number];

/** `struct virtio_mem_req`: le16 type, padding, then le64 addr and le16 nb_blocks, padding. */
export const REQUEST_BYTES = 24;
const TYPE_BYTES = 2;
const ADDRESS_OFFSET = 8;
const COUNT_OFFSET = 16;
const RANGE_END = 18;

/** `struct virtio_mem_resp`: le16 type, padding, le16 state. */
const RESPONSE_BYTES = 10;
const STATE_OFFSET = 8;

export interface MemRequest {
  readonly type: number;
  /** 0 if the request is too short to have it. Exact, or not below 2^53. */
  readonly gpa: number;
  readonly blocks: number;
}

/** What a guest has sent; undefined if that is too short for a type. */
export function parseRequest(bytes: Uint8Array): MemRequest | undefined {
  if (bytes.byteLength < TYPE_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = view.getUint16(0, true);
  if (bytes.byteLength < RANGE_END) return { type, gpa: 0, blocks: 0 };
  return {
    type,
    gpa: Number(view.getBigUint64(ADDRESS_OFFSET, true)),
    blocks: view.getUint16(COUNT_OFFSET, true),
  };
}

export function composeResponse(type: number, state: BlockState = 'plugged'): Uint8Array {
  const bytes = new Uint8Array(RESPONSE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, type, true);
  view.setUint16(STATE_OFFSET, STATES.indexOf(state), true);
  return bytes;
}
