import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** An API of a server. APIs with different path prefixes can share a socket. */
export interface Surface {
  /** True if a path belongs to this API. */
  handles(path: string): boolean;
  /** Answers a request. It must not throw or reject. */
  serve(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Answers an upgrade request. `head` is data that was read after it. It must not throw or reject. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Uint8Array): Promise<void>;
}

/** The path of a request, without the query. */
export function requestPath({ url = '/' }: IncomingMessage): string {
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}
