import { createServer, type Server, type Socket } from 'node:net';
import { openSocketFile, type SocketFile } from '../../host/socket-file.ts';

/** Callbacks of a {@link PortSocket}. */
export interface PortSocketEvents {
  /** A client has connected or disconnected. */
  onOpen(open: boolean): void;
  /** @returns false to pause the client's input */
  onInput(bytes: Uint8Array): boolean;
}

/** A named port of the guest as a UNIX socket. It accepts one client at a time and refuses others. */
export class PortSocket {
  readonly #file: SocketFile;
  readonly #server: Server;
  readonly #events: PortSocketEvents;
  #client: Socket | undefined;
  #onRoom = Promise.withResolvers<void>();

  /** @throws TsvmError `invalid-config` */
  constructor(path: string, events: PortSocketEvents) {
    this.#file = openSocketFile('the socket of a port', path);
    this.#events = events;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.on('error', () => {});
    this.#server.listen({ fd: this.#file.fd });
    this.#server.unref();
  }

  /** Without a client, output is discarded. */
  write(bytes: Uint8Array): boolean {
    return this.#client === undefined || this.#client.write(bytes);
  }

  onceDrained(): Promise<void> {
    return this.#client?.writableNeedDrain ? this.#onRoom.promise : Promise.resolve();
  }

  resumeInput(): void {
    this.#client?.resume();
  }

  close(): void {
    this.#client?.destroy();
    // Also closes the descriptor.
    this.#server.close();
    this.#file.remove();
  }

  #accept(socket: Socket): void {
    socket.on('error', () => {});
    if (this.#client !== undefined) {
      socket.destroy();
      return;
    }
    this.#client = socket;
    socket.on('data', (bytes: Uint8Array) => {
      if (!this.#events.onInput(bytes)) socket.pause();
    });
    socket.on('drain', () => this.#hasRoom());
    socket.on('close', () => {
      this.#client = undefined;
      this.#hasRoom();
      this.#events.onOpen(false);
    });
    this.#events.onOpen(true);
  }

  #hasRoom(): void {
    this.#onRoom.resolve();
    this.#onRoom = Promise.withResolvers();
  }
}
