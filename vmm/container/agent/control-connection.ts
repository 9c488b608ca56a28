import type { Duplex } from 'node:stream';
import { AgentError, type AgentEvent } from './agent.ts';
import { errorOf, FieldReader } from './field-reader.ts';
import { Fields } from './frame-writer.ts';
import { type ConnectionListener, GuestConnection, lost } from './guest-connection.ts';
import { EVENT, EVENT_OOM, FRAME, HELLO, PROTOCOL_VERSION } from './protocol.ts';

interface PendingRequest {
  readonly resolve: (reply: FieldReader) => void;
  readonly reject: (error: AgentError) => void;
  readonly timer: NodeJS.Timeout;
}

/** The control connection: requests that are answered in order, and events. */
export class ControlConnection implements ConnectionListener {
  readonly hello = Promise.withResolvers<FieldReader>();
  readonly #connection: GuestConnection;
  readonly #onEvent: (event: AgentEvent) => void;
  readonly #pending: PendingRequest[] = [];
  readonly #timeoutMs: number;
  #greeted = false;
  #closing = false;
  #lost: AgentError | undefined;

  constructor(stream: Duplex, timeoutMs: number, onEvent: (event: AgentEvent) => void) {
    this.#timeoutMs = timeoutMs;
    this.#onEvent = onEvent;
    this.#connection = new GuestConnection(stream, this, []);
  }

  /** @throws AgentError of the guest, or `agent-lost` */
  request(type: number, fields = new Fields()): Promise<FieldReader> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    const { promise, resolve, reject } = Promise.withResolvers<FieldReader>();
    const timer = setTimeout(() => {
      this.#connection.close(lost('the guest agent does not answer'));
    }, this.#timeoutMs);
    this.#pending.push({ resolve, reject, timer });
    this.#connection.write([fields.frame(type)]);
    return promise;
  }

  /** The connection's end is expected: no event tells it. */
  expectEnd(): void {
    this.#closing = true;
  }

  onFrame(type: number, payload: Buffer): void {
    if (!this.#greeted) {
      if (type !== FRAME.HELLO) throw lost('the guest agent did not say hello');
      this.#greeted = true;
      this.hello.resolve(checkHello(payload));
    } else if (type === FRAME.EVENT) {
      this.#takeEvent(new FieldReader(payload));
    } else if (type === FRAME.REPLY || type === FRAME.ERROR) {
      const [request] = this.#pending;
      if (request === undefined) throw lost('the guest agent sent an answer to no request');
      // Parsed first: what cannot be is the end of all requests, this one included.
      const answer = type === FRAME.REPLY ? new FieldReader(payload) : errorOf(payload);
      this.#pending.shift();
      clearTimeout(request.timer);
      if (answer instanceof FieldReader) request.resolve(answer);
      else request.reject(answer);
    } else {
      throw lost(`the guest agent sent a frame of type ${type} on the control connection`);
    }
  }

  onData(): void {}

  onDataEnd(): void {}

  onClose(error: AgentError): void {
    this.#lost = error;
    this.hello.reject(error);
    for (const { reject, timer } of this.#pending.splice(0)) {
      clearTimeout(timer);
      reject(error);
    }
    if (this.#greeted && !this.#closing) this.#onEvent({ type: 'lost', reason: error.message });
  }

  #takeEvent(fields: FieldReader): void {
    if (fields.number(EVENT.KIND) === EVENT_OOM) this.#onEvent({ type: 'oom' });
  }
}

function checkHello(payload: Buffer): FieldReader {
  const fields = new FieldReader(payload);
  const version = fields.number(HELLO.VERSION);
  if (version !== PROTOCOL_VERSION) {
    throw new AgentError(
      'agent-lost',
      `the guest agent speaks version ${version} of the protocol, not ${PROTOCOL_VERSION}: build it again by npm run setup`,
    );
  }
  return fields;
}
