import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { withShortPath } from '../../host/short-path.ts';
import { fsPath } from '../../util/byte-names.ts';
import type { HttpConnections } from './http-connections.ts';
import type { Surface } from './surface.ts';

/** Maximum number of open connections; further ones are closed immediately. */
const CONNECTIONS_MAX = 64;
const REQUEST_MS = 10_000;

/**
 * Serves APIs by HTTP/1.1 on a UNIX socket. `node:http` is loaded at the first connection, so that
 * machines that nobody connects to need neither the memory nor the start-up time.
 */
export class ApiServer {
  readonly #server: Server;
  readonly #surfaces: () => Promise<readonly Surface[]>;
  readonly #requestMs: number;
  #connections: Promise<HttpConnections> | undefined;
  #path = '';

  /**
   * @param surfaces called at the first connection
   * @param requestMs time for a client to send its request
   */
  constructor(surfaces: () => Promise<readonly Surface[]>, requestMs = REQUEST_MS) {
    this.#surfaces = surfaces;
    this.#requestMs = requestMs;
    this.#server = createServer({ pauseOnConnect: true }, (socket) => {
      socket.on('error', () => {});
      this.#serve(socket).catch(() => socket.destroy());
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /**
   * Listens on a socket that only this user can connect to. Does not keep the process alive.
   * @throws Error of node:net
   */
  async listen(path: string): Promise<void> {
    await withShortPath(path, async (short) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#server.once('error', reject);
      // The socket is created in this call. With chmod(2), others could connect before; and a process in
      // its sandbox may not call it.
      const umask = process.umask(0o177);
      try {
        this.#server.listen(short, resolve);
      } finally {
        process.umask(umask);
      }
      await promise;
      this.#server.off('error', reject);
    });
    this.#path = path;
    this.#server.on('error', () => {});
    this.#server.unref();
  }

  /** Stops listening and removes the socket. Open connections stay open. */
  close(): void {
    this.#server.close();
    if (this.#path !== '') rmSync(fsPath(this.#path), { force: true });
  }

  async #serve(socket: Socket): Promise<void> {
    this.#connections ??= this.#load();
    const connections = await this.#connections;
    connections.serve(socket);
  }

  async #load(): Promise<HttpConnections> {
    const [{ HttpConnections }, surfaces] = await Promise.all([
      import('./http-connections.ts'),
      this.#surfaces(),
    ]);
    return new HttpConnections(surfaces, this.#requestMs);
  }
}
