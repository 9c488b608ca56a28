import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TsvmError } from '../../errors.ts';

/** The device's side, which passes descriptors of connected stream sockets. */
export interface VsockNative {
  /**
   * A socket that is served like a connection to the device's socket file: write "CONNECT port" to it
   * and read "OK port", or it is closed.
   */
  connect(): number;
  /** Takes a listening socket over: its connections lead to a port of the guest. */
  publish(fd: number, port: number): void;
  listen(port: number): void;
  unlisten(port: number): void;
  takeAccepted(): readonly { port: number; guestPort: number; fd: number }[];
}

/** Called with each connection. `guestPort` is the guest's port. */
export type OnVsockConnection = (stream: Duplex, peer: { readonly guestPort: number }) => void;

/** Longest answer: "OK 4294967295\n". */
const ANSWER_BYTES_MAX = 14;
const LINE_FEED = 0x0a;

/**
 * Connections between this process and ports of the guest, as streams with flow control and half-close:
 * `end()` shuts down one direction, `destroy()` closes the connection.
 */
export class VsockPorts {
  readonly #native: VsockNative;
  readonly #listeners = new Map<number, OnVsockConnection>();

  constructor(native: VsockNative) {
    this.#native = native;
  }

  /**
   * Connects to a port of the guest. Waits for the guest's driver to start; use a signal to limit the
   * time.
   * @throws TsvmError `connection-refused` when nothing in the guest listens on the port
   */
  async connect(port: number, options: { readonly signal?: AbortSignal } = {}): Promise<Duplex> {
    checkPort(port);
    options.signal?.throwIfAborted();
    const stream = openStream(this.#native.connect());
    const abort = () => stream.destroy();
    options.signal?.addEventListener('abort', abort);
    try {
      stream.write(`CONNECT ${port}\n`);
      await readAnswer(stream, port);
    } catch (error) {
      stream.destroy();
      options.signal?.throwIfAborted();
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', abort);
    }
    return stream;
  }

  /**
   * Leads all connections of a listening socket to a port of the guest, without this thread. The
   * socket belongs to the device from now on, which closes it at its end.
   * @param fd of a stream socket with O_NONBLOCK
   */
  publish(fd: number, port: number): void {
    checkPort(port);
    this.#native.publish(fd, port);
  }

  /**
   * Accepts the guest's connections to a port of the host (CID 2). Takes precedence over a socket file
   * for this port.
   * @returns a function that stops listening; established connections stay open
   * @throws TsvmError `invalid-config` when this machine already has a listener for the port
   */
  listen(port: number, onConnection: OnVsockConnection): () => void {
    checkPort(port);
    if (this.#listeners.has(port)) {
      throw new TsvmError('invalid-config', `vsock port ${port} already has a listener`);
    }
    this.#native.listen(port);
    this.#listeners.set(port, onConnection);
    return () => {
      if (this.#listeners.get(port) !== onConnection) return;
      this.#listeners.delete(port);
      this.#native.unlisten(port);
    };
  }

  /** Passes on the connections that have arrived. */
  acceptArrived(): void {
    for (const { port, guestPort, fd } of this.#native.takeAccepted()) {
      const onConnection = this.#listeners.get(port);
      if (onConnection === undefined) closeSync(fd);
      else onConnection(openStream(fd), { guestPort });
    }
  }
}

function checkPort(port: number): void {
  // VMADDR_PORT_ANY is 2^32 - 1.
  if (!Number.isInteger(port) || port < 0 || port >= 2 ** 32 - 1) {
    throw new TsvmError('invalid-config', `vsock port ${port}: give a number from 0 to 4294967294`);
  }
}

function openStream(fd: number): Socket {
  return new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
}

/** Reads the answer to CONNECT. Data after it stays in the stream. */
async function readAnswer(stream: Socket, port: number): Promise<void> {
  const refused = () =>
    new TsvmError('connection-refused', `the guest accepts no connection on vsock port ${port}`);
  let answer = Buffer.alloc(0);
  for (;;) {
    const chunk: Buffer | null = stream.read();
    if (chunk === null) {
      if (stream.destroyed || stream.readableEnded) throw refused();
      await untilReadable(stream);
      continue;
    }
    answer = Buffer.concat([answer, chunk]);
    const end = answer.indexOf(LINE_FEED);
    if (end >= 0) {
      if (end + 1 < answer.length) stream.unshift(answer.subarray(end + 1));
      return;
    }
    if (answer.length > ANSWER_BYTES_MAX) throw refused();
  }
}

/** Resolves when the stream may have data, has ended or is closed. An error closes it. */
function untilReadable(stream: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const events = ['readable', 'end', 'close', 'error'] as const;
  const settle = () => resolve();
  for (const event of events) stream.on(event, settle);
  return promise.finally(() => {
    for (const event of events) stream.off(event, settle);
  });
}
