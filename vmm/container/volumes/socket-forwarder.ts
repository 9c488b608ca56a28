import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { MachineHandle } from '../../machine/machine.ts';
import { joinStreams } from '../../util/join-streams.ts';

/**
 * Carries a unix socket of the host into a container: each connection that the guest makes to a vsock
 * port is connected to the socket. virtio-fs shows socket files, but does not connect them.
 */
export class SocketForwarder {
  readonly #path: string;
  readonly #port: number;
  #stop: (() => void) | undefined;
  readonly #streams = new Set<Duplex>();

  constructor(path: string, port: number) {
    this.#path = path;
    this.#port = port;
  }

  listen({ vsock }: MachineHandle): void {
    this.#stop = vsock?.listen(this.#port, (guest) => this.#forward(guest));
  }

  /** Ends all connections. */
  close(): void {
    this.#stop?.();
    for (const stream of this.#streams) stream.destroy();
  }

  #forward(guest: Duplex): void {
    const host = connect({ path: this.#path, allowHalfOpen: true });
    joinStreams(guest, host);
    for (const stream of [guest, host]) {
      this.#streams.add(stream);
      stream.once('close', () => this.#streams.delete(stream));
    }
  }
}
