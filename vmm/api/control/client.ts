import { lstatSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TsvmError } from '../../errors.ts';
import { fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import { withShortPath } from '../http/api-server.ts';
import type { Call, Result } from '../http/operation.ts';
import { isMachineAlive, socketPath } from '../machines/machine-folder.ts';
import type { RunningMachine } from '../machines/running-machines.ts';
import {
  CONSOLE_INPUT_HEADER,
  CONTROL_API,
  CONTROL_OPERATIONS,
  type ControlOperations,
} from './operations.ts';

/** A machine that boots listens soon. */
const LISTEN_WAIT_MS = 5_000;
const LISTEN_POLL_MS = 20;
/** Longer than a pause takes, which waits for I/O in flight. */
const ANSWER_MS = 30_000;
const ANSWER_MAX_BYTES = 16 * 2 ** 20;

type Name = keyof ControlOperations;
type Input<K extends Name> = Partial<Call<ControlOperations[K]>>;
type AnyInput = { readonly query?: object | undefined; readonly body?: object | undefined };

/** A console that is attached: a byte stream. */
export interface ConsoleConnection {
  readonly socket: Socket;
  /** Whether what is written to the socket reaches the guest. */
  readonly hasInput: boolean;
}

/** Calls the control API of a running machine. Every method throws `machine-unreachable`, and the errors of the API. */
export class ControlClient {
  readonly #machine: RunningMachine;
  readonly #answerMs: number;

  /** @param answerMs how long to wait for an answer */
  constructor(machine: RunningMachine, answerMs = ANSWER_MS) {
    this.#machine = machine;
    this.#answerMs = answerMs;
  }

  /** Calls an operation. */
  async call<K extends Name>(name: K, input: Input<K> = {}): Promise<Result<ControlOperations[K]>> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const sent = await this.#send(name, input);
    sent.once('response', resolve).once('error', reject);
    const text = await this.#inTime(promise.then(readAll), () => sent.destroy());
    const { answer } = CONTROL_OPERATIONS[name];
    const result: unknown = answer.kind === 'json' ? JSON.parse(text) : text;
    return result as Result<ControlOperations[K]>;
  }

  async attachConsole(query: Input<'attachConsole'>['query'] = {}): Promise<ConsoleConnection> {
    const { promise, resolve, reject } = Promise.withResolvers<ConsoleConnection>();
    const sent = await this.#send('attachConsole', { query });
    sent.once('error', reject);
    sent.once('response', (response) => readAll(response).then(() => {}, reject));
    sent.once('upgrade', (response, socket: Socket, head) => {
      socket.unshift(head);
      const hasInput = response.headers[CONSOLE_INPUT_HEADER.toLowerCase()] === 'yes';
      resolve({ socket, hasInput });
    });
    return await this.#inTime(promise, () => sent.destroy());
  }

  async #send(name: Name, { query, body }: AnyInput): Promise<ClientRequest> {
    const socket = await this.#connect();
    const { method, path, answer } = CONTROL_OPERATIONS[name];
    const search = new URLSearchParams(
      Object.entries(query ?? {}).map(([key, value]): [string, string] => [key, String(value)]),
    );
    const sent = request({
      createConnection: () => socket,
      method,
      path: `${CONTROL_API.basePath}${path}?${search}`,
      headers: {
        Host: 'localhost',
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
        ...(answer.kind === 'upgrade'
          ? { Connection: 'Upgrade', Upgrade: answer.protocol }
          : { Connection: 'close' }),
      },
    });
    // Until the caller listens.
    sent.on('error', () => {});
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    return sent;
  }

  async #connect(): Promise<Socket> {
    const { folder } = this.#machine;
    const path = socketPath(folder);
    const startMs = performance.now();
    for (;;) {
      try {
        if (!lstatSync(fsPath(path)).isSocket()) throw this.#unreachable(`${path} is no socket`);
        return await withShortPath(path, connectTo);
      } catch (error) {
        const mayCome = hasCode(error, 'ENOENT', 'ECONNREFUSED') && isMachineAlive(folder);
        if (!mayCome) throw this.#unreachable(String(error));
        if (performance.now() - startMs > LISTEN_WAIT_MS)
          throw this.#unreachable('it does not listen');
      }
      await sleep(LISTEN_POLL_MS);
    }
  }

  async #inTime<T>(work: Promise<T>, giveUp: () => void): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      reject(this.#unreachable('it does not answer'));
      giveUp();
    }, this.#answerMs);
    try {
      return await Promise.race([work, late]);
    } catch (error) {
      throw error instanceof TsvmError ? error : this.#unreachable(String(error));
    } finally {
      clearTimeout(timer);
    }
  }

  #unreachable(reason: string): TsvmError {
    const { name } = this.#machine;
    return new TsvmError(
      'machine-unreachable',
      `the machine ${name} cannot be reached (${reason}): if it hangs, run "tsvm kill ${name}"`,
    );
  }
}

async function connectTo(path: string): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ path }, resolve).once('error', reject);
  await promise;
  socket.off('error', reject);
  return socket;
}

/** The body of an answer. @throws TsvmError for an answer that is an error */
async function readAll(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response as AsyncIterable<string>) {
    text += chunk;
    if (text.length > ANSWER_MAX_BYTES) throw new Error('the answer is too long');
  }
  if (response.statusCode !== undefined && response.statusCode < 300) return text;
  const { code, message } = JSON.parse(text) as {
    readonly code?: string;
    readonly message?: string;
  };
  const isState = code === 'wrong-state' || code === 'not-supported';
  throw new TsvmError(isState ? 'wrong-state' : 'machine-unreachable', message ?? text);
}
