/** Listens for a debugger: one client at a time. */
import { createServer, type Server, type Socket } from 'node:net';
import { GdbSession } from './session.ts';
import type { CpuStop, DebugTarget } from './target.ts';

export class GdbServer {
  readonly #target: DebugTarget;
  readonly #server: Server;
  #client: { readonly socket: Socket; readonly session: GdbSession } | undefined;

  /** @param fd a listening socket, which the server closes */
  constructor(target: DebugTarget, fd: number) {
    this.#target = target;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.on('error', () => {});
    this.#server.listen({ fd });
    this.#server.unref();
  }

  /** The TCP port that it listens on. */
  get port(): number | undefined {
    const address = this.#server.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  /** The vCPUs have stopped; `stops` has those that did so by themselves. */
  stopped(stops: readonly CpuStop[]): void {
    this.#client?.session.stopped(stops);
  }

  /** The machine has ended, with an exit code as of a process. */
  ended(code: number): void {
    this.#client?.session.ended(code);
  }

  close(): void {
    this.#client?.socket.destroySoon();
    this.#server.close();
  }

  #accept(socket: Socket): void {
    socket.on('error', () => {});
    // Another client would change what the first one sees.
    if (this.#client !== undefined) {
      socket.destroy();
      return;
    }
    const session = new GdbSession(this.#target, {
      send: (bytes) => {
        // A client that reads no answers may ask no more.
        if (!socket.write(bytes)) socket.pause();
      },
      close: () => socket.destroySoon(),
    });
    this.#client = { socket, session };
    socket.on('drain', () => socket.resume());
    socket.on('data', (bytes: Uint8Array) => session.receive(bytes));
    socket.on('close', () => {
      const free = () => {
        this.#client = undefined;
      };
      // It fails for a machine that has ended meanwhile.
      session.leave().then(free, free);
    });
    session.start().catch(() => socket.destroy());
  }
}
