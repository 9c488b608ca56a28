/**
 * What a client of a container and its supervisor say to each other once they are connected: Docker's
 * multiplexed streams, in both directions, and messages besides.
 *
 * A frame: kind (1 byte), three zero bytes, length of the payload (32 bits, big-endian), payload.
 */
import type { Duplex } from 'node:stream';

export const FRAME_KINDS = ['stdin', 'stdout', 'stderr', 'message'] as const;
export type FrameKind = (typeof FRAME_KINDS)[number];

const HEADER_BYTES = 8;
/** No sender makes larger ones. */
const PAYLOAD_MAX_BYTES = 2 ** 24;

/** Sends frames on a connection. */
export class FrameWriter {
  readonly #socket: Duplex;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** @returns false when the connection's buffer is full: wait for its `drain` */
  send(kind: FrameKind, payload: Uint8Array): boolean {
    const header = Buffer.alloc(HEADER_BYTES);
    header[0] = FRAME_KINDS.indexOf(kind);
    header.writeUInt32BE(payload.byteLength, 4);
    if (!this.#socket.writable) return true;
    this.#socket.cork();
    this.#socket.write(header);
    const room = this.#socket.write(payload);
    this.#socket.uncork();
    return room;
  }

  sendMessage(message: object): boolean {
    return this.send('message', Buffer.from(JSON.stringify(message)));
  }
}

/** What arrives, in order. A payload may come in several pieces. */
export interface FrameHandlers {
  data(kind: Exclude<FrameKind, 'message'>, bytes: Buffer): void;
  message(message: Readonly<Record<string, unknown>>): void;
}

/** Takes a byte stream apart into frames. */
export class FrameReader {
  readonly #handlers: FrameHandlers;
  #header = Buffer.alloc(0);
  #kind: FrameKind = 'stdin';
  /** Of the current frame, still to come. */
  #restBytes = 0;
  #message: Buffer[] = [];

  constructor(handlers: FrameHandlers) {
    this.#handlers = handlers;
  }

  /** @throws Error for bytes that are no frames */
  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.byteLength > 0) {
      rest = this.#restBytes === 0 ? this.#readHeader(rest) : this.#readPayload(rest);
    }
  }

  #readHeader(chunk: Buffer): Buffer {
    const missing = HEADER_BYTES - this.#header.byteLength;
    this.#header = Buffer.concat([this.#header, chunk.subarray(0, missing)]);
    if (this.#header.byteLength < HEADER_BYTES) return Buffer.alloc(0);
    const kind = FRAME_KINDS[this.#header[0] ?? 0];
    const lengthBytes = this.#header.readUInt32BE(4);
    if (kind === undefined || lengthBytes > PAYLOAD_MAX_BYTES) throw new Error('not a frame');
    this.#header = Buffer.alloc(0);
    this.#kind = kind;
    this.#restBytes = lengthBytes;
    // An empty frame of standard input is its end.
    if (lengthBytes === 0 && kind !== 'message') this.#handlers.data(kind, Buffer.alloc(0));
    return chunk.subarray(missing);
  }

  #readPayload(chunk: Buffer): Buffer {
    const payload = chunk.subarray(0, this.#restBytes);
    this.#restBytes -= payload.byteLength;
    if (this.#kind !== 'message') this.#handlers.data(this.#kind, payload);
    else {
      this.#message.push(payload);
      if (this.#restBytes === 0) {
        const text = Buffer.concat(this.#message).toString();
        this.#message = [];
        this.#handlers.message(JSON.parse(text));
      }
    }
    return chunk.subarray(payload.byteLength);
  }
}
