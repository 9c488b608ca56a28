import { isIP, isIPv4 } from 'node:net';
import type { GuestAddresses, PortForward } from '../backends/net/passt.ts';
import type { Bridge } from '../backends/net/tap.ts';
import { parseMacAddress, randomMacAddress } from '../util/mac-address.ts';
import {
  BOOLEAN,
  checkFields,
  invalid,
  type Kind,
  LIST,
  NUMBER,
  oneOf,
  RECORD,
  TEXT,
} from './config-fields.ts';
import { checkIdentity, type DeviceIdentity } from './device-ids.ts';
import { checkRateLimits, type RateLimits } from './rate-limits.ts';

interface NetSettings extends DeviceIdentity {
  /** The guest's MAC address, such as `52:54:00:12:34:56`. Random if it is left out. */
  readonly mac?: string | undefined;
  /**
   * Largest IP packet in bytes. If it is left out, a guest chooses its own on a tap device, and has
   * 65520 on a user network.
   */
  readonly mtu?: number | undefined;
  /** Whether the cable is plugged in when the guest starts. */
  readonly linkUp?: boolean | undefined;
  /** Of each direction. */
  readonly limits?: RateLimits | undefined;
}

/** A network without privileges, by passt. */
export interface UserNetConfig extends NetSettings {
  readonly kind: 'user';
  readonly forwards?: readonly PortForward[] | undefined;
  /** The guest's addresses, IPv4 only. Default: those of the host, IPv4 and IPv6. */
  readonly addresses?: GuestAddresses | undefined;
  /**
   * Whether the gateway's address stands for the host's loopback. Default: only if the guest needs
   * that to reach a name server.
   */
  readonly gatewayIsHost?: boolean | undefined;
}

/** A tap device of the host, which its user has created, or which is created for a bridge. */
export interface TapNetConfig extends NetSettings {
  readonly kind: 'tap';
  readonly name: string;
  /** Pairs of queues, each with a thread; more than 1 needs a device made with `multi_queue`. */
  readonly queues?: number | undefined;
  /** Creates the device as a port of this bridge, as long as the machine is there. */
  readonly bridge?: Bridge | undefined;
  /**
   * Whether the guest may send frames with other source addresses than `mac`, as one does that is a
   * bridge itself. Otherwise they are dropped. Default: only on a device of the user's.
   */
  readonly spoofing?: boolean | undefined;
}

export type NetConfig = UserNetConfig | TapNetConfig;

/** A network with nothing left out that has a default. */
export type ResolvedNet =
  | (UserNetConfig & {
      readonly mac: string;
      readonly mtu: number;
      readonly linkUp: boolean;
      readonly forwards: readonly PortForward[];
    })
  | (TapNetConfig & {
      readonly mac: string;
      readonly linkUp: boolean;
      readonly queues: number;
      readonly spoofing: boolean;
    });

/** What passt(1) announces unless it is told another. */
const USER_MTU = 65_520;
/** What IPv4 requires of every link, and what virtio-net's field holds (5.1.4.1). */
export const MTU_MIN = 68;
export const MTU_MAX = 65_535;
export const QUEUES_MAX = 16;
const PORT_MAX = 65_535;
/** IFNAMSIZ without the NUL. */
const INTERFACE_NAME_MAX = 15;

const SETTINGS_FIELDS: Readonly<Record<keyof NetSettings, Kind>> = {
  mac: TEXT,
  mtu: NUMBER,
  linkUp: BOOLEAN,
  limits: RECORD,
  id: TEXT,
  slot: NUMBER,
};
const USER_FIELDS: Readonly<Record<keyof UserNetConfig, Kind>> = {
  kind: TEXT,
  forwards: LIST,
  addresses: RECORD,
  gatewayIsHost: BOOLEAN,
  ...SETTINGS_FIELDS,
};
const TAP_FIELDS: Readonly<Record<keyof TapNetConfig, Kind>> = {
  kind: TEXT,
  name: TEXT,
  queues: NUMBER,
  bridge: RECORD,
  spoofing: BOOLEAN,
  ...SETTINGS_FIELDS,
};
const ADDRESSES_FIELDS: Readonly<Record<keyof GuestAddresses, Kind>> = {
  address: TEXT,
  netmask: TEXT,
  gateway: TEXT,
};
const BRIDGE_FIELDS: Readonly<Record<keyof Bridge, Kind>> = { name: TEXT, namespacePid: NUMBER };
const FORWARD_FIELDS: Readonly<Record<keyof PortForward, Kind>> = {
  protocol: oneOf(['tcp', 'udp']),
  address: TEXT,
  hostPort: NUMBER,
  guestPort: NUMBER,
};

/** @throws TsvmError `invalid-config` */
export function resolveNet(net: NetConfig): ResolvedNet {
  const kind = (net as { readonly kind?: unknown } | null)?.kind;
  if (kind !== 'user' && kind !== 'tap') invalid('a network has the "kind" "user" or "tap"');
  checkFields('the network', net, kind === 'user' ? USER_FIELDS : TAP_FIELDS);
  const mac = net.mac ?? randomMacAddress();
  if (parseMacAddress(mac) === undefined) {
    invalid(`the MAC address "${mac}": give six bytes such as 52:54:00:12:34:56, of one station`);
  }
  if (net.mtu !== undefined && !isWhole(net.mtu, MTU_MIN, MTU_MAX)) {
    invalid(`an MTU of ${net.mtu}: give a number from ${MTU_MIN} to ${MTU_MAX}`);
  }
  if (net.limits !== undefined) checkRateLimits(net.limits);
  checkIdentity('net', net);
  const linkUp = net.linkUp ?? true;
  return net.kind === 'user'
    ? { ...resolveUser(net, mac), linkUp }
    : { ...resolveTap(net, mac), linkUp };
}

function resolveUser(net: UserNetConfig, mac: string) {
  const { addresses, mtu = USER_MTU, forwards = [] } = net;
  if (addresses !== undefined) {
    checkFields('the addresses of the network', addresses, ADDRESSES_FIELDS);
    for (const name of ['address', 'netmask', 'gateway'] as const) {
      if (!isIPv4(addresses[name] ?? '')) {
        invalid(`the ${name} "${addresses[name]}" of a network: give an IPv4 address`);
      }
    }
  }
  const taken = new Set<string>();
  for (const forward of forwards) {
    checkFields('the forwarded port', forward, FORWARD_FIELDS);
    const { protocol, address, hostPort, guestPort } = forward;
    if (isIP(address ?? '') === 0) {
      invalid(`a forwarded port of the address "${address}": give an IPv4 or IPv6 address`);
    }
    for (const port of [hostPort, guestPort]) {
      if (!isWhole(port, 1, PORT_MAX)) invalid(`port ${port}: give one from 1 to ${PORT_MAX}`);
    }
    const key = `${protocol} port ${hostPort} of ${address}`;
    if (taken.has(key)) invalid(`${key} is forwarded twice`);
    taken.add(key);
  }
  return { ...net, mac, mtu, forwards };
}

function resolveTap(net: TapNetConfig, mac: string) {
  const { name, queues = 1, spoofing = net.bridge === undefined } = net;
  if (name === undefined || name === '' || name.length > INTERFACE_NAME_MAX) {
    invalid(
      `a tap device "${name ?? ''}": give its name, at most ${INTERFACE_NAME_MAX} characters`,
    );
  }
  if (!isWhole(queues, 1, QUEUES_MAX)) {
    invalid(`${queues} queues: give a number from 1 to ${QUEUES_MAX}`);
  }
  if (net.bridge !== undefined) {
    checkFields('the bridge', net.bridge, BRIDGE_FIELDS);
    if (queues > 1) invalid('a tap device that is created for a bridge has one queue');
  }
  return { ...net, mac, queues, spoofing };
}

function isWhole(value: unknown, min: number, max: number): boolean {
  return Number.isInteger(value) && Number(value) >= min && Number(value) <= max;
}
