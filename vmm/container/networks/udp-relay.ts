import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { TsvmError } from '../../errors.ts';
import { bindProblem } from './free-port.ts';

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** The one that was silent for longest gives way. */
const CLIENTS_MAX = 1024;
/** As long as the kernel's connection tracking keeps a stream of datagrams. */
const SILENCE_MS = 120_000;

/** Hands datagrams on to another address of the host, and answers back. */
export class UdpRelay {
  readonly #from: Endpoint;
  readonly #to: Endpoint;
  #server: Socket | undefined;
  readonly #clients = new Map<string, Socket>();

  constructor(from: Endpoint, to: Endpoint) {
    this.#from = from;
    this.#to = to;
  }

  /** @throws TsvmError `network-unavailable` */
  async listen(): Promise<void> {
    const { address, port } = this.#from;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (cause: unknown) => {
      const message = bindProblem('udp', address, port, cause);
      reject(new TsvmError('network-unavailable', message, { cause }));
    };
    const type = address.includes(':') ? 'udp6' : 'udp4';
    const socket = createSocket({ type, ipv6Only: type === 'udp6' });
    this.#server = socket.once('error', fail);
    socket.on('message', (data, client) => this.#send(socket, data, client));
    socket.bind({ address, port, exclusive: true }, resolve);
    await promise;
    // What goes wrong later concerns one client only.
    socket.removeListener('error', fail).on('error', () => {});
    socket.unref();
  }

  /** The port is free when it resolves. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => server.once('close', () => resolve()));
    server.close();
    for (const socket of this.#clients.values()) socket.close();
    this.#clients.clear();
    await closed;
  }

  #send(socket: Socket, data: Buffer, { address, port }: RemoteInfo): void {
    const key = `${address} ${port}`;
    const known = this.#clients.get(key);
    const own = known ?? this.#newClient(socket, key, { address, port });
    // The order of the map is that of the last use.
    this.#clients.delete(key);
    this.#clients.set(key, own);
    own.send(data, this.#to.port, this.#to.address, () => {});
  }

  #newClient(socket: Socket, key: string, client: Endpoint): Socket {
    const [oldest] = this.#clients;
    if (oldest !== undefined && this.#clients.size >= CLIENTS_MAX) {
      this.#clients.delete(oldest[0]);
      oldest[1].close();
    }
    const own = createSocket(this.#to.address.includes(':') ? 'udp6' : 'udp4');
    const silence = setTimeout(() => own.close(), SILENCE_MS).unref();
    own.on('message', (answer) => {
      silence.refresh();
      socket.send(answer, client.port, client.address, () => {});
    });
    own.once('close', () => {
      clearTimeout(silence);
      if (this.#clients.get(key) === own) this.#clients.delete(key);
    });
    own.on('error', () => own.close());
    own.unref();
    return own;
  }
}
