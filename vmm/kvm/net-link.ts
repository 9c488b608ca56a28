import type { NativeNetPort } from '../../kvm-addon/index.d.ts';
import type { NetLink } from '../devices/virtio/net/net-device.ts';
import { loadAddon } from '../host/addon.ts';

/** Why a link serves no more. */
export type LinkFailure = 'EPIPE' | 'EPROTO' | 'EBADFD';

export interface NetLinkOptions {
  readonly kind: 'tap' | 'stream';
  /** A descriptor for each pair of queues, closed by {@link KvmNetLink.close}. */
  readonly fds: readonly number[];
  /** The only source address that frames from the guest may have: six bytes. Default: any. */
  readonly source?: Uint8Array | undefined;
  readonly onFailure: (code: LinkFailure) => void;
}

/** The host's end of a network link: a tap device or a stream socket. */
export class KvmNetLink implements NetLink {
  readonly offloads: boolean;
  readonly ports: readonly NativeNetPort[];
  /** Ports that the host passes frames to. */
  #pairs: number;

  constructor({ kind, fds, source, onFailure }: NetLinkOptions) {
    const { NativeNetPort } = loadAddon();
    this.offloads = kind === 'tap';
    this.#pairs = fds.length;
    this.ports = fds.map((fd) => new NativeNetPort({ kind, fd, source, onFailure }));
  }

  setUp(up: boolean): void {
    for (const port of this.ports) port.setLink(up);
  }

  setPairs(pairs: number): void {
    for (const [pair, port] of this.ports.entries()) {
      if (pair < pairs !== pair < this.#pairs) port.setQueue(pair < pairs);
    }
    this.#pairs = pairs;
  }

  /** The workers have stopped. */
  close(): void {
    for (const port of this.ports) port.close();
  }
}
