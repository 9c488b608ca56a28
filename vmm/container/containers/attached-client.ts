import type { Duplex } from 'node:stream';
import type { TerminalSize } from '../agent/agent.ts';
import type { ProcessStreams, StreamViewer } from './container-streams.ts';
import type { LogStream } from './log-format.ts';
import { FrameReader, FrameWriter } from './stream-frames.ts';

/** What a client may ask for besides streams. */
export interface ClientRequests {
  /** A message of the client that is not about streams. */
  message(message: Readonly<Record<string, unknown>>): void;
  /** The connection is gone: the client has detached, ended or was killed. */
  closed(): void;
}

export interface AttachOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** The end of the client's input is that of the process's. */
  readonly endsInput: boolean;
}

/** Clients that have not read everything yet, at their end. */
const UNREAD = new Set<Promise<void>>();

/** Resolves when all clients whose connection was ended have read everything, or are gone. */
export async function clientsServed(): Promise<void> {
  while (UNREAD.size > 0) await Promise.all(UNREAD);
}

/** A client that is connected to a process's streams by frames on a socket. */
export class AttachedClient implements StreamViewer {
  readonly #socket: Duplex;
  readonly #frames: FrameWriter;
  readonly #reader: FrameReader;
  readonly #requests: ClientRequests;
  #streams: ProcessStreams | undefined;
  #options: AttachOptions = { stdin: false, stdout: false, stderr: false, endsInput: false };
  /** Input that came before the client was attached to anything. */
  readonly #early: (Buffer | 'end')[] = [];

  constructor(socket: Duplex, requests: ClientRequests) {
    this.#socket = socket;
    this.#requests = requests;
    this.#frames = new FrameWriter(socket);
    this.#reader = new FrameReader({
      data: (_, bytes) => this.#input(bytes.byteLength === 0 ? 'end' : bytes),
      message: (message) => requests.message(message),
    });
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    socket.on('drain', () => this.#streams?.resume(this));
    socket.on('error', () => {});
    // The end of standard input is a frame: a client that ends its side has left.
    socket.once('end', () => socket.end());
    socket.once('close', () => {
      this.#streams?.removeViewer(this);
      this.#requests.closed();
    });
  }

  /** Takes what was read from the socket before. */
  receive(chunk: Buffer): void {
    try {
      this.#reader.push(chunk);
    } catch {
      // Whoever talks like this is no client of ours.
      this.#socket.destroy();
    }
  }

  /** Connects it to the streams of a process that is about to start, or runs. */
  attach(streams: ProcessStreams, options: AttachOptions): void {
    this.#streams = streams;
    this.#options = options;
    streams.addViewer(this);
    for (const bytes of this.#early.splice(0)) this.#input(bytes);
  }

  write(stream: LogStream, bytes: Buffer): boolean {
    return this.#options[stream] ? this.#frames.send(stream, bytes) : true;
  }

  send(message: object): void {
    this.#frames.sendMessage(message);
  }

  /** Everything that was sent arrives; then the connection is closed. */
  end(): void {
    this.#streams?.removeViewer(this);
    if (this.#socket.destroyed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    UNREAD.add(promise);
    promise.then(() => UNREAD.delete(promise));
    this.#socket.once('finish', resolve).once('close', resolve);
    this.#socket.end();
  }

  #input(bytes: Buffer | 'end'): void {
    const streams = this.#streams;
    if (streams === undefined) {
      this.#early.push(bytes);
      return;
    }
    if (!this.#options.stdin) return;
    if (bytes === 'end') {
      if (this.#options.endsInput) streams.endInput();
      return;
    }
    if (streams.input(bytes)) return;
    this.#socket.pause();
    streams.onceInputRoom().then(() => this.#socket.resume());
  }
}

/** A terminal's size in a message; undefined if there is none that makes sense. */
export function terminalSize(message: Readonly<Record<string, unknown>>): TerminalSize | undefined {
  const { columns, rows } = message;
  const isSize = (value: unknown): value is number =>
    Number.isInteger(value) && Number(value) > 0 && Number(value) < 65_536;
  return isSize(columns) && isSize(rows) ? { columns, rows } : undefined;
}
