/** A registry that serves one image and misbehaves as the test tells it to. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { TestContext } from 'node:test';
import type { MadeImage } from './image-maker.ts';

export interface HostileAnswer {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The answer of an honest registry. */
  readonly bytes: Buffer;
  /** Number of earlier requests for this. */
  readonly earlier: number;
}

/** Answers the request, or returns false to leave it to the honest registry. */
export type Trick = (answer: HostileAnswer) => boolean | Promise<boolean>;

export interface HostileRegistry {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly requests: { readonly url: string; readonly headers: IncomingMessage['headers'] }[];
}

export interface Tricks {
  readonly manifest?: Trick;
  /** For a request of a layer's blob. */
  readonly layer?: Trick;
  readonly config?: Trick;
  /** For all other requests. */
  readonly other?: Trick;
}

export async function startHostileRegistry(
  test: TestContext,
  image: MadeImage,
  tricks: Tricks,
): Promise<HostileRegistry> {
  const counts = new Map<string, number>();
  const requests: HostileRegistry['requests'] = [];
  const server = createServer(async (request, response) => {
    const url = request.url ?? '';
    requests.push({ url, headers: request.headers });
    const earlier = counts.get(url) ?? 0;
    counts.set(url, earlier + 1);
    const [, kind, name = ''] = /^\/v2\/.+\/(manifests|blobs)\/(.+)$/.exec(url) ?? [];
    const bytes = kind === 'manifests' ? image.manifestBytes : image.blobs.get(name);
    const isConfig = name === image.config;
    const trick =
      kind === 'manifests'
        ? tricks.manifest
        : kind === 'blobs'
          ? isConfig
            ? tricks.config
            : tricks.layer
          : tricks.other;
    const answer = { request, response, bytes: bytes ?? Buffer.alloc(0), earlier };
    if (await trick?.(answer)) return;
    if (url === '/v2/') response.end('{}');
    else if (bytes === undefined) response.writeHead(404).end();
    else honest(answer, kind === 'manifests' ? image.mediaType : 'application/octet-stream');
  });
  // TLS connections are closed, as by a server without TLS.
  server.on('clientError', (_, socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { host: `127.0.0.1:${address.port}`, requests };
}

function honest({ request, response, bytes }: HostileAnswer, type: string): void {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (start === 0) {
    response.writeHead(200, { 'content-type': type, 'content-length': bytes.length }).end(bytes);
    return;
  }
  response
    .writeHead(206, { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` })
    .end(bytes.subarray(start));
}
