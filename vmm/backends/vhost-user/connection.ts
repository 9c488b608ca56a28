import { Socket } from 'node:net';
import { TsvmError } from '../../errors.ts';
import { sendDescriptors } from '../../host/descriptors.ts';
import {
  decodeNumberReply,
  encode,
  message,
  REPLY_BYTES,
  type VhostUserMessage,
} from './protocol.ts';

/** Time for the backend to answer. */
const REPLY_TIMEOUT_MS = 10_000;

interface Awaited {
  readonly request: number;
  readonly resolve: (value: bigint) => void;
  readonly reject: (error: TsvmError) => void;
}

/**
 * A connection to a vhost-user backend. It is closed when the backend sends an invalid or unexpected
 * message, does not answer in time, or exits.
 */
export class VhostUserConnection {
  readonly #fd: number;
  readonly #socket: Socket;
  readonly #onClosed: (reason: string) => void;
  readonly #replyTimeoutMs: number;
  #received = Buffer.alloc(0);
  #awaited: Awaited | undefined;
  #closed = false;

  /**
   * @param fd a connected stream socket, owned by this object
   * @param onClosed called once, unless {@link close} was called
   */
  constructor(fd: number, onClosed: (reason: string) => void, replyTimeoutMs = REPLY_TIMEOUT_MS) {
    this.#fd = fd;
    this.#replyTimeoutMs = replyTimeoutMs;
    this.#onClosed = onClosed;
    // The kernel closes any descriptors that the backend sends, because reads do not ask for them.
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => this.#fail('it has closed the connection'));
  }

  /** @throws TsvmError `backend-failed` when the backend has exited or does not read */
  send(sent: VhostUserMessage): void {
    if (this.#closed) throw failure('the connection is closed');
    const bytes = encode(sent);
    let count: number;
    try {
      count = sendDescriptors(this.#fd, { bytes, fds: sent.fds });
    } catch (cause) {
      this.#fail(`it cannot be sent to (${(cause as NodeJS.ErrnoException).code})`);
      throw failure('it cannot be sent to', cause);
    }
    // All messages together are much shorter than the socket's buffer.
    if (count === bytes.length) return;
    this.#fail('it does not read messages');
    throw failure('it does not read messages');
  }

  /**
   * Sends a request without payload and waits for its reply, which is a number.
   * @throws TsvmError `backend-failed`
   */
  async ask(request: number): Promise<bigint> {
    const { promise, resolve, reject } = Promise.withResolvers<bigint>();
    this.#awaited = { request, resolve, reject };
    const timer = setTimeout(() => this.#fail('it does not answer'), this.#replyTimeoutMs);
    try {
      this.send(message(request));
      return await promise;
    } finally {
      clearTimeout(timer);
      promise.catch(() => {});
    }
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #receive(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    if (this.#awaited === undefined || this.#received.length > REPLY_BYTES) {
      this.#fail('it sent what it was not asked for');
      return;
    }
    if (this.#received.length < REPLY_BYTES) return;
    const { request, resolve } = this.#awaited;
    const reply = decodeNumberReply(this.#received);
    if (reply === undefined || reply.request !== request) {
      this.#fail('its answer is malformed');
      return;
    }
    this.#awaited = undefined;
    this.#received = Buffer.alloc(0);
    resolve(reply.value);
  }

  #fail(reason: string): void {
    if (this.#closed) return;
    this.close();
    this.#awaited?.reject(failure(reason));
    this.#onClosed(reason);
  }
}

function failure(reason: string, cause?: unknown): TsvmError {
  return new TsvmError('backend-failed', `the vhost-user backend failed: ${reason}`, { cause });
}
