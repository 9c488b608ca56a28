import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** An API of a server. Several, each with a path prefix of its own, can share one socket. */
export interface Surface {
  /** True for a path that belongs to this API. */
  handles(path: string): boolean;
  /** Answers a request. It must not throw or reject. */
  serve(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Answers a request to upgrade; `head` is what was read after it. It must not throw or reject. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Uint8Array): Promise<void>;
}

/** The path of a request without its query. */
export function requestPath({ url = '/' }: IncomingMessage): string {
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}
