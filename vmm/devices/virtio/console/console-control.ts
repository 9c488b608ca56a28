/** Messages of the control queues: virtio 1.2, section 5.3.6.2. */

/** `struct virtio_console_control`: le32 id, le16 event, le16 value. */
const MESSAGE_BYTES = 8;

export const ControlEvent = {
  DEVICE_READY: 0,
  DEVICE_ADD: 1,
  DEVICE_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;

export interface ControlMessage {
  /** Number of the port. */
  readonly port: number;
  readonly event: number;
  readonly value: number;
}

/** Undefined for a message that is too short; what follows it is ignored. */
export function parseControl(bytes: Uint8Array): ControlMessage | undefined {
  if (bytes.byteLength < MESSAGE_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, MESSAGE_BYTES);
  return {
    port: view.getUint32(0, true),
    event: view.getUint16(4, true),
    value: view.getUint16(6, true),
  };
}

/** @param data follows the message */
export function encodeControl(
  { port, event, value }: ControlMessage,
  data?: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_BYTES + (data?.byteLength ?? 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, port, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  if (data !== undefined) bytes.set(data, MESSAGE_BYTES);
  return bytes;
}

/** `struct virtio_console_resize`: le16 cols, le16 rows. */
export function encodeSize(columns: number, rows: number): Uint8Array {
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, columns, true);
  view.setUint16(2, rows, true);
  return bytes;
}
