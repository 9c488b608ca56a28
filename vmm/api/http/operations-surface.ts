import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { errorText, TsvmError } from '../../errors.ts';
import { sendError, sendJson, sendText } from './answers.ts';
import { refuseUpgrade } from './http-connections.ts';
import { type ApiInfo, openApiDocument } from './openapi.ts';
import {
  ApiError,
  type Call,
  type ErrorCode,
  type Operation,
  type Operations,
  type Result,
} from './operation.ts';
import { readBody } from './request-body.ts';
import { type ObjectSchema, schemaProblem } from './schema.ts';
import { requestPath, type Surface } from './surface.ts';

/** A connection that was upgraded to a byte stream. */
export interface UpgradedConnection {
  readonly socket: Duplex;
  /** Data that the client sent right after its request. */
  readonly head: Uint8Array;
  /** Sends the answer 101, after which the socket is a byte stream. */
  accept(headers?: Readonly<Record<string, string>>): void;
}

type Handler<O extends Operation> = O['answer'] extends { kind: 'upgrade' }
  ? (call: Call<O>, connection: UpgradedConnection) => void | Promise<void>
  : (call: Call<O>) => Result<O> | Promise<Result<O>>;

/** The handlers of a table's operations. They may throw {@link ApiError} and TsvmError. */
export type Handlers<T extends Operations> = { readonly [K in keyof T]: Handler<T[K]> };

type AnyHandler = (call: Call<Operation>, connection?: UpgradedConnection) => unknown;

/** Path of the OpenAPI document, below the base path of the API. */
export const DESCRIPTION_PATH = '/openapi.json';

/**
 * The API of a table of operations. Everything that a client sends is checked before a handler gets it.
 */
export class OperationsSurface<T extends Operations> implements Surface {
  readonly #info: ApiInfo;
  readonly #operations: T;
  readonly #handlers: Handlers<T>;

  constructor(info: ApiInfo, operations: T, handlers: Handlers<T>) {
    this.#info = info;
    this.#operations = operations;
    this.#handlers = handlers;
  }

  handles(path: string): boolean {
    return path === this.#info.basePath || path.startsWith(`${this.#info.basePath}/`);
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const path = this.#relativePath(request);
      if (path === DESCRIPTION_PATH && request.method === 'GET') {
        sendJson(response, 200, openApiDocument(this.#info, this.#operations));
        return;
      }
      await this.#serveOperation(path, request, response);
    } catch (error) {
      const { code, message, headers } = describeError(error);
      if (!response.headersSent) sendError(response, code, message, headers);
    }
  }

  async upgrade(request: IncomingMessage, socket: Duplex, head: Uint8Array): Promise<void> {
    try {
      const [operation, handler] = this.#find(this.#relativePath(request), request.method);
      const { answer } = operation;
      if (answer.kind !== 'upgrade') {
        throw new ApiError('invalid-request', 'this operation does not upgrade the connection');
      }
      if (request.headers.upgrade?.toLowerCase() !== answer.protocol) {
        throw upgradeRequired(answer.protocol);
      }
      const call = { query: parseQuery(operation, request), body: undefined };
      await handler(call, {
        socket,
        head,
        accept: (headers = {}) => socket.write(switchingProtocols(answer.protocol, headers)),
      });
    } catch (error) {
      const { code, message, headers } = describeError(error);
      refuseUpgrade(request, socket, code, message, headers);
    }
  }

  #relativePath(request: IncomingMessage): string {
    return requestPath(request).slice(this.#info.basePath.length);
  }

  /** @throws ApiError */
  #find(path: string, method: string | undefined): [Operation, AnyHandler] {
    const onPath = Object.entries(this.#operations).filter(([, each]) => each.path === path);
    const [name, operation] = onPath.find(([, each]) => each.method === method) ?? [];
    if (name !== undefined && operation !== undefined) {
      return [operation, this.#handlers[name] as AnyHandler];
    }
    if (onPath.length === 0) {
      const { basePath } = this.#info;
      throw new ApiError(
        'not-found',
        `there is no ${basePath}${path}: see ${basePath}${DESCRIPTION_PATH}`,
      );
    }
    throw new WrongMethod(path, onPath.map(([, each]) => each.method).join(', '));
  }

  async #serveOperation(
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const [operation, handler] = this.#find(path, request.method);
    const { answer } = operation;
    if (answer.kind === 'upgrade') throw upgradeRequired(answer.protocol);
    const query = parseQuery(operation, request);
    const body = parseBody(operation, await readBody(request));
    const result: unknown = await handler({ query, body } as Call<Operation>);
    if (answer.kind === 'json') sendJson(response, 200, result);
    else if (answer.kind === 'text') sendText(response, 200, answer.contentType, String(result));
    else response.writeHead(204).end();
  }
}

class WrongMethod extends ApiError {
  readonly allow: string;

  constructor(path: string, allow: string) {
    super('wrong-method', `${path} has the methods ${allow}`);
    this.allow = allow;
  }
}

function upgradeRequired(protocol: string): ApiError {
  return new ApiError(
    'upgrade-required',
    `send the headers "Connection: Upgrade" and "Upgrade: ${protocol}"`,
  );
}

function describeError(error: unknown): {
  code: ErrorCode;
  message: string;
  headers?: Readonly<Record<string, string>>;
} {
  if (error instanceof WrongMethod) {
    return { code: error.code, message: error.message, headers: { Allow: error.allow } };
  }
  if (error instanceof ApiError) return { code: error.code, message: error.message };
  if (
    error instanceof TsvmError &&
    (error.code === 'wrong-state' || error.code === 'container-conflict')
  ) {
    return { code: 'wrong-state', message: error.message };
  }
  return { code: 'failed', message: errorText(error) };
}

/** @throws ApiError `invalid-request` */
function parseQuery({ query }: Operation, { url = '' }: IncomingMessage): undefined {
  const start = url.indexOf('?');
  const given = new URLSearchParams(start < 0 ? '' : url.slice(start + 1));
  const schema: ObjectSchema = query ?? {
    type: 'object',
    properties: {},
    required: [],
    additionalProperties: false,
  };
  // Without a prototype: "__proto__" is a name like any other.
  const values = Object.create(null) as Record<string, unknown>;
  for (const [name, text] of given) {
    if (Object.hasOwn(values, name)) {
      throw new ApiError('invalid-request', `the parameter ${name} is given more than once`);
    }
    const isNumber = schema.properties[name]?.type === 'integer' && /^\d{1,15}$/.test(text);
    values[name] = isNumber ? Number(text) : text;
  }
  const problem = schemaProblem(schema, values, 'the query');
  if (problem !== undefined) throw new ApiError('invalid-request', problem);
  // The type is derived from the schema; see `Call`.
  return values as unknown as undefined;
}

/** @throws ApiError `invalid-request` */
function parseBody({ body: schema }: Operation, bytes: Uint8Array): undefined {
  if (schema === undefined) {
    if (bytes.byteLength === 0) return undefined;
    throw new ApiError('invalid-request', 'this operation takes no body');
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new ApiError('invalid-request', 'the body is not JSON in UTF-8');
  }
  const problem = schemaProblem(schema, value, 'the body');
  if (problem !== undefined) throw new ApiError('invalid-request', problem);
  return value as undefined;
}

function switchingProtocols(protocol: string, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries({ Connection: 'Upgrade', Upgrade: protocol, ...headers });
  const text = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `HTTP/1.1 101 Switching Protocols\r\n${text}\r\n`;
}
