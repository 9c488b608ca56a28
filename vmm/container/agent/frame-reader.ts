import { AgentError } from './agent.ts';
import { DATA_BYTES_MAX, FRAME, FRAME_HEADER_BYTES, REPLY_BYTES_MAX } from './protocol.ts';

/** Frames whose payload is passed on as it arrives. */
const STREAMS: ReadonlySet<number> = new Set([FRAME.STDOUT, FRAME.STDERR, FRAME.DATA]);

export interface FrameListener {
  /** A whole frame of fields. */
  onFrame(type: number, payload: Buffer): void;
  /** A part of a stream. */
  onData(type: number, bytes: Buffer): void;
  /** A frame of a stream without bytes: its end. */
  onDataEnd(type: number): void;
}

/** Splits what the guest sends into frames. Nothing of it is trusted. */
export class FrameReader {
  readonly #listener: FrameListener;
  readonly #streams: ReadonlySet<number>;
  /** Bytes of a header or of a frame of fields, until it is complete. */
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  /** The current frame, once its header is known. */
  #frame: { type: number; length: number } | undefined;
  /** Of a stream's frame: bytes to come. */
  #remaining = 0;

  /** @param streams frame types that are streams on this connection */
  constructor(listener: FrameListener, streams: Iterable<number> = STREAMS) {
    this.#listener = listener;
    this.#streams = new Set(streams);
  }

  /**
   * Takes the next bytes of the connection.
   * @throws AgentError `agent-lost` if they are no frames
   */
  push(bytes: Buffer): void {
    let rest = bytes;
    while (rest.length > 0) rest = this.#take(rest);
  }

  /** Whether the connection may end here. */
  get betweenFrames(): boolean {
    return this.#frame === undefined && this.#pendingBytes === 0;
  }

  #take(bytes: Buffer): Buffer {
    if (this.#frame === undefined) return this.#takeHeader(bytes);
    const { type, length } = this.#frame;
    if (!this.#streams.has(type)) {
      const [payload, rest] = this.#collect(bytes, length);
      if (payload !== undefined) this.#complete(type, payload);
      return rest;
    }
    const part = bytes.subarray(0, this.#remaining);
    this.#remaining -= part.length;
    if (this.#remaining === 0) this.#frame = undefined;
    this.#listener.onData(type, part);
    return bytes.subarray(part.length);
  }

  #takeHeader(bytes: Buffer): Buffer {
    const [header, rest] = this.#collect(bytes, FRAME_HEADER_BYTES);
    if (header === undefined) return rest;
    const length = header.readUInt32LE(0);
    const type = header.readUInt8(4);
    const isStream = this.#streams.has(type);
    if (length > (isStream ? DATA_BYTES_MAX : REPLY_BYTES_MAX)) {
      throw new AgentError('agent-lost', `the guest agent sent a frame of ${length} bytes`);
    }
    if (length > 0) {
      this.#frame = { type, length };
      this.#remaining = length;
    } else if (isStream) {
      this.#listener.onDataEnd(type);
    } else {
      this.#listener.onFrame(type, Buffer.alloc(0));
    }
    return rest;
  }

  #complete(type: number, payload: Buffer): void {
    this.#frame = undefined;
    this.#listener.onFrame(type, payload);
  }

  /** Collects `length` bytes. @returns them, if they are all there, and the bytes behind them */
  #collect(bytes: Buffer, length: number): [Buffer | undefined, Buffer] {
    const missing = length - this.#pendingBytes;
    const part = bytes.subarray(0, missing);
    const rest = bytes.subarray(part.length);
    if (part.length < missing) {
      // Copied: the connection's buffer may be large, and the guest decides how many parts there are.
      this.#pending.push(Buffer.from(part));
      this.#pendingBytes += part.length;
      return [undefined, rest];
    }
    const whole = this.#pending.length === 0 ? part : Buffer.concat([...this.#pending, part]);
    this.#pending = [];
    this.#pendingBytes = 0;
    return [whole, rest];
  }
}
