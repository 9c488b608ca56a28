import { lstatSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TsvmError } from '../../errors.ts';
import { withShortPath } from '../../host/short-path.ts';
import { fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import { isMachineAlive, socketPath } from '../machines/machine-folder.ts';
import type { ApiInfo } from './openapi.ts';
import type { Call, ErrorCode, Operations, Result } from './operation.ts';

/** Time for a process that starts to listen. */
const LISTEN_WAIT_MS = 5_000;
const LISTEN_POLL_MS = 20;
/** Longer than a pause, which waits for I/O in flight. */
const ANSWER_MS = 30_000;
const ANSWER_MAX_BYTES = 16 * 2 ** 20;

type Input<T extends Operations, K extends keyof T> = Partial<Call<T[K]>>;
type AnyInput = { readonly query?: object | undefined; readonly body?: object | undefined };

/** Where an API is served. */
export interface ApiTarget {
  /** The folder with the lock and the socket; see `../machines/machine-folder.ts`. */
  readonly folder: string;
  /** The error for a process that cannot be reached or does not answer. */
  unreachable(reason: string): TsvmError;
  /** The TsvmError for an error that the API answers with. */
  refused(code: ErrorCode | undefined, message: string): TsvmError;
}

/** A connection that was upgraded to a byte stream. */
export interface UpgradedClient {
  readonly socket: Socket;
  /** Headers of the answer, with names in lower case. */
  readonly headers: IncomingMessage['headers'];
}

/** Calls an API of another process of this user. Every method throws the errors of its target. */
export class ApiClient<T extends Operations> {
  readonly #info: ApiInfo;
  readonly #operations: T;
  readonly #target: ApiTarget;
  readonly #answerMs: number;

  /** @param answerMs time to wait for an answer */
  constructor(info: ApiInfo, operations: T, target: ApiTarget, answerMs = ANSWER_MS) {
    this.#info = info;
    this.#operations = operations;
    this.#target = target;
    this.#answerMs = answerMs;
  }

  /** Calls an operation. */
  async call<K extends keyof T & string>(
    name: K,
    input: Input<T, K> = {},
    answerMs = this.#answerMs,
  ): Promise<Result<T[K]>> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const sent = await this.#send(name, input);
    sent.once('response', resolve).once('error', reject);
    const answer = promise.then((response) => this.#readAll(response));
    const text = await this.#inTime(answer, () => sent.destroy(), answerMs);
    const isJson = this.#operations[name]?.answer.kind === 'json';
    const result: unknown = isJson ? JSON.parse(text) : text;
    return result as Result<T[K]>;
  }

  /** Calls an operation that upgrades the connection to a byte stream. */
  async upgrade<K extends keyof T & string>(
    name: K,
    query: Input<T, K>['query'] = undefined,
  ): Promise<UpgradedClient> {
    const { promise, resolve, reject } = Promise.withResolvers<UpgradedClient>();
    const sent = await this.#send(name, { query });
    sent.once('error', reject);
    sent.once('response', (response) => this.#readAll(response).then(() => {}, reject));
    sent.once('upgrade', ({ headers }, socket: Socket, head) => {
      socket.unshift(head);
      resolve({ socket, headers });
    });
    return await this.#inTime(promise, () => sent.destroy(), this.#answerMs);
  }

  async #send(name: string, { query, body }: AnyInput): Promise<ClientRequest> {
    const socket = await this.#connect();
    const operation = this.#operations[name];
    if (operation === undefined) throw new Error(`there is no operation ${name}`);
    const { method, path, answer } = operation;
    const search = new URLSearchParams(
      Object.entries(query ?? {})
        .filter(([, value]) => value !== undefined)
        .map(([key, value]): [string, string] => [key, String(value)]),
    );
    const sent = request({
      createConnection: () => socket,
      method,
      path: `${this.#info.basePath}${path}?${search}`,
      headers: {
        Host: 'localhost',
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
        ...(answer.kind === 'upgrade'
          ? { Connection: 'Upgrade', Upgrade: answer.protocol }
          : { Connection: 'close' }),
      },
    });
    // An error before the caller listens must not be an uncaught exception.
    sent.on('error', () => {});
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    return sent;
  }

  async #connect(): Promise<Socket> {
    const { folder } = this.#target;
    const path = socketPath(folder);
    const startMs = performance.now();
    for (;;) {
      try {
        if (!lstatSync(fsPath(path)).isSocket()) {
          throw this.#target.unreachable(`${path} is no socket`);
        }
        return await withShortPath(path, connectTo);
      } catch (error) {
        const mayCome = hasCode(error, 'ENOENT', 'ECONNREFUSED') && isMachineAlive(folder);
        if (!mayCome) throw this.#target.unreachable(String(error));
        if (performance.now() - startMs > LISTEN_WAIT_MS)
          throw this.#target.unreachable('it does not listen');
      }
      await sleep(LISTEN_POLL_MS);
    }
  }

  async #inTime<R>(work: Promise<R>, giveUp: () => void, answerMs: number): Promise<R> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = Number.isFinite(answerMs)
      ? setTimeout(() => {
          reject(this.#target.unreachable('it does not answer'));
          giveUp();
        }, answerMs)
      : undefined;
    try {
      return await Promise.race([work, late]);
    } catch (error) {
      throw error instanceof TsvmError ? error : this.#target.unreachable(String(error));
    } finally {
      clearTimeout(timer);
    }
  }

  /** The body of an answer. @throws TsvmError for an answer that is an error */
  async #readAll(response: IncomingMessage): Promise<string> {
    let text = '';
    response.setEncoding('utf8');
    for await (const chunk of response as AsyncIterable<string>) {
      text += chunk;
      if (text.length > ANSWER_MAX_BYTES) throw new Error('the answer is too long');
    }
    if (response.statusCode !== undefined && response.statusCode < 300) return text;
    const { code, message } = JSON.parse(text) as {
      readonly code?: ErrorCode;
      readonly message?: string;
    };
    throw this.#target.refused(code, message ?? text);
  }
}

async function connectTo(path: string): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ path }, resolve).once('error', reject);
  await promise;
  socket.off('error', reject);
  return socket;
}
