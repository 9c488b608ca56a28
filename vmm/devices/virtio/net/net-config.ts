import type { StateReader } from '../../device-state.ts';
import { type ConfigField, ConfigSpace } from '../config-space.ts';

/** `struct virtio_net_config` up to the last field we fill (virtio 1.2, section 5.1.4). */
const MAC_BYTES = 6;
const STATUS: ConfigField = { offset: 6, width: 2 };
const MAX_VIRTQUEUE_PAIRS: ConfigField = { offset: 8, width: 2 };
const MTU: ConfigField = { offset: 10, width: 2 };
const SIZE_BYTES = 12;

const VIRTIO_NET_S_LINK_UP = 1;

export interface NetConfigValues {
  /** Six bytes. */
  readonly mac: Uint8Array;
  readonly queuePairs: number;
  /** Bytes; 0 if the device does not offer VIRTIO_NET_F_MTU. */
  readonly mtu: number;
}

/** The configuration space of a network device. */
export class NetConfig extends ConfigSpace {
  constructor({ mac, queuePairs, mtu }: NetConfigValues) {
    super(SIZE_BYTES);
    for (let i = 0; i < MAC_BYTES; i++) this.set({ offset: i, width: 1 }, mac[i] ?? 0);
    this.set(MAX_VIRTQUEUE_PAIRS, queuePairs);
    this.set(MTU, mtu);
    this.linkUp = true;
  }

  get linkUp(): boolean {
    return this.read(STATUS.offset, STATUS.width) === VIRTIO_NET_S_LINK_UP;
  }

  set linkUp(up: boolean) {
    this.set(STATUS, up ? VIRTIO_NET_S_LINK_UP : 0);
  }

  /** The link's state is restored, unlike the fields that the configuration determines. */
  override load(state: StateReader): void {
    const bytes = state.bytes('bytes', SIZE_BYTES, SIZE_BYTES);
    this.linkUp = bytes[STATUS.offset] === VIRTIO_NET_S_LINK_UP;
    super.load(state);
  }
}
