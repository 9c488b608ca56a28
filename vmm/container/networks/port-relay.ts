import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { TsvmError } from '../../errors.ts';
import { joinStreams } from '../../util/join-streams.ts';
import { bindProblem } from './free-port.ts';

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** Clients of a UDP relay; the one that was silent for longest gives way. */
const UDP_CLIENTS_MAX = 1024;
/** As long as the kernel's connection tracking keeps a stream of datagrams. */
const UDP_SILENCE_MS = 120_000;

/** Hands connections, or datagrams, on to another address of the host. */
export class PortRelay {
  readonly #protocol: 'tcp' | 'udp';
  readonly #from: Endpoint;
  readonly #to: Endpoint;
  #server: Server | UdpSocket | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #clients = new Map<string, UdpSocket>();

  constructor(protocol: 'tcp' | 'udp', from: Endpoint, to: Endpoint) {
    this.#protocol = protocol;
    this.#from = from;
    this.#to = to;
  }

  /** @throws TsvmError `network-unavailable` */
  async listen(): Promise<void> {
    const { address, port } = this.#from;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fail = (cause: unknown) => {
      const message = bindProblem(this.#protocol, address, port, cause);
      reject(new TsvmError('network-unavailable', message, { cause }));
    };
    if (this.#protocol === 'tcp') {
      const server = createServer({ allowHalfOpen: true }, (client) => this.#connect(client));
      this.#server = server.once('error', fail);
      server.listen({ host: address, port, ipv6Only: true }, resolve);
    } else {
      const type = address.includes(':') ? 'udp6' : 'udp4';
      const socket = createSocket({ type, ipv6Only: type === 'udp6' });
      this.#server = socket.once('error', fail);
      socket.on('message', (data, client) => this.#send(socket, data, client));
      socket.bind({ address, port, exclusive: true }, resolve);
    }
    await promise;
    // What goes wrong later concerns one client only.
    this.#server.removeListener('error', fail).on('error', () => {});
    this.#server.unref();
  }

  /** Ends all connections. The port is free when it resolves. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => server.once('close', () => resolve()));
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    for (const socket of this.#clients.values()) socket.close();
    this.#clients.clear();
    await closed;
  }

  #connect(client: Socket): void {
    const { address: host, port } = this.#to;
    const target = connect({ host, port, allowHalfOpen: true, noDelay: true });
    client.setNoDelay(true);
    joinStreams(client, target);
    for (const socket of [client, target]) {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    }
  }

  #send(socket: UdpSocket, data: Buffer, { address, port }: RemoteInfo): void {
    const key = `${address} ${port}`;
    const known = this.#clients.get(key);
    const own = known ?? this.#newClient(socket, key, { address, port });
    // The order of the map is that of the last use.
    this.#clients.delete(key);
    this.#clients.set(key, own);
    own.send(data, this.#to.port, this.#to.address, () => {});
  }

  #newClient(socket: UdpSocket, key: string, client: Endpoint): UdpSocket {
    const [oldest] = this.#clients;
    if (oldest !== undefined && this.#clients.size >= UDP_CLIENTS_MAX) {
      this.#clients.delete(oldest[0]);
      oldest[1].close();
    }
    const own = createSocket(this.#to.address.includes(':') ? 'udp6' : 'udp4');
    const silence = setTimeout(() => own.close(), UDP_SILENCE_MS).unref();
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
