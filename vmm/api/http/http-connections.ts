import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { sendError } from './answers.ts';
import { requestPath, type Surface } from './surface.ts';

const HEADER_MAX_BYTES = 16 * 1024;

/**
 * Serves HTTP/1.1 on accepted sockets. Each connection serves one request or one upgrade, so that no
 * connection is idle and no request waits for another.
 */
export class HttpConnections {
  readonly #surfaces: readonly Surface[];
  readonly #requestMs: number;
  readonly #server: Server;
  readonly #deadlines = new WeakMap<Duplex, NodeJS.Timeout>();

  /** @param requestMs time for a client to send its request */
  constructor(surfaces: readonly Surface[], requestMs: number) {
    this.#surfaces = surfaces;
    this.#requestMs = requestMs;
    this.#server = createServer({ maxHeaderSize: HEADER_MAX_BYTES, keepAlive: false });
    this.#server.on('request', (request, response) => this.#answer(request, response));
    this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#endDeadline(socket);
      this.#upgrade(request, socket, head);
    });
    this.#server.on('clientError', (_error, socket) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    });
  }

  serve(socket: Socket): void {
    // After the process stood still, a request may have come that is unread: it is read first.
    const deadline = setTimeout(() => {
      setImmediate(() => this.#deadlines.has(socket) && socket.destroy());
    }, this.#requestMs).unref();
    this.#deadlines.set(socket, deadline);
    socket.once('close', () => this.#endDeadline(socket));
    this.#server.emit('connection', socket);
    socket.resume();
  }

  #endDeadline(socket: Duplex): void {
    clearTimeout(this.#deadlines.get(socket));
    this.#deadlines.delete(socket);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    response.shouldKeepAlive = false;
    // There is no time limit for the answer: an operation, such as a pause, may have to wait.
    request.once('end', () => this.#endDeadline(request.socket));
    response.once('finish', () => setTimeout(() => request.socket.destroySoon(), 0));
    const surface = this.#surfaceOf(request);
    if (surface === undefined)
      sendError(response, 'not-found', `there is no ${requestPath(request)}`);
    else surface.serve(request, response);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Uint8Array): void {
    const surface = this.#surfaceOf(request);
    if (surface === undefined) refuseUpgrade(request, socket, 'not-found', 'there is no such path');
    else surface.upgrade(request, socket, head);
  }

  #surfaceOf(request: IncomingMessage): Surface | undefined {
    return this.#surfaces.find((surface) => surface.handles(requestPath(request)));
  }
}

/** Answers an upgrade request with an error and closes the connection. */
export function refuseUpgrade(
  request: IncomingMessage,
  socket: Duplex,
  ...error: Parameters<typeof sendError> extends [unknown, ...infer Rest] ? Rest : never
): void {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket as Socket);
  response.once('finish', () => socket.end());
  sendError(response, ...error);
}
