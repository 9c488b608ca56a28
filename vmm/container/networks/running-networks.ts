/** The interfaces of a container's machine. While it runs, it can join networks and leave them. */
import { TsvmError } from '../../errors.ts';
import type { MachineHandle } from '../../machine/machine.ts';
import type { NetConfig } from '../../machine/net-config.ts';
import {
  type Agent,
  NAME_SERVER_ADDRESS,
  type NamedInterface,
  type NameSettings,
} from '../agent/agent.ts';
import {
  type OutsideNames,
  readHostResolver,
  resolvConf,
  resolverSettings,
} from './container-files.ts';
import type { InterfaceFacts } from './network-facts.ts';
import { joinNetwork, type Member, type NetworkMembership } from './network-membership.ts';
import type { EndpointSettings, NetworkSettings } from './network-settings.ts';

/** Of a bridge. */
const BRIDGE_MTU = 1_500;
/** MAXNS of resolver(5). */
const NAME_SERVERS_MAX = 3;
/** Names are asked about as they are before search domains are added: as Docker does on networks. */
const NAMES_FIRST = 'ndots:0';

/** The interface to the outside. */
export interface Uplink {
  readonly net: NetConfig;
  readonly interface: Omit<NamedInterface, 'name'>;
  readonly names: OutsideNames;
}

/** What is the machine's while it runs. */
interface Running {
  readonly machine: MachineHandle;
  readonly agent: Agent;
}

export class RunningNetworks {
  #member: Member;
  readonly #settings: NetworkSettings;
  readonly #memberships: NetworkMembership[] = [];
  /** By MAC address. */
  readonly #names = new Map<string, string>();
  #uplink: Uplink | undefined;
  #running: Running | undefined;

  constructor(member: Member, settings: NetworkSettings) {
    this.#member = member;
    this.#settings = settings;
  }

  get memberships(): readonly NetworkMembership[] {
    return this.#memberships;
  }

  /** Before the machine is made. @throws TsvmError as {@link joinNetwork} */
  async join(endpoint: EndpointSettings): Promise<void> {
    this.#memberships.push(await joinNetwork(endpoint, this.#member));
  }

  set uplink(uplink: Uplink | undefined) {
    this.#uplink = uplink;
  }

  /** The machine's network devices. */
  get nets(): NetConfig[] {
    const uplink = this.#uplink === undefined ? [] : [this.#uplink.net];
    return [...this.#memberships.map(bridgePort), ...uplink];
  }

  /** In the order of {@link nets}. */
  get interfaces(): NamedInterface[] {
    const uplink = this.#uplink === undefined ? [] : [this.#uplink.interface];
    return [...this.#memberships.map(bridgeInterface), ...uplink].map((link) => ({
      ...link,
      name: this.#nameOf(link.mac),
    }));
  }

  get facts(): InterfaceFacts[] {
    return this.#memberships.map(membershipFacts);
  }

  /**
   * On networks, or if only the host can ask about the outside, the agent asks this process, and others
   * about what that refuses.
   */
  get names(): NameSettings {
    const { onHost, servers } = this.#uplink?.names ?? { onHost: [], servers: this.#settings.dns };
    const others = servers.filter((server) => server !== NAME_SERVER_ADDRESS);
    const nameServers = others.slice(0, NAME_SERVERS_MAX);
    const settings = resolverSettings(this.#settings, readHostResolver());
    const isOnNetwork = this.#memberships.length > 0;
    if (!isOnNetwork && onHost.length === 0) {
      return { resolvConf: resolvConf(nameServers, settings) };
    }
    const { options, search } = settings;
    const isGiven = options.some((option) => option.startsWith('ndots:'));
    const added = isOnNetwork && !isGiven ? [NAMES_FIRST] : [];
    return {
      resolvConf: resolvConf([NAME_SERVER_ADDRESS], { options: [...options, ...added], search }),
      nameServers,
    };
  }

  /** The agent has assembled the container in the machine. */
  set running(running: Running) {
    this.#running = running;
  }

  /** @throws TsvmError `network-conflict`, and as {@link joinNetwork}; AgentError */
  async connect(endpoint: EndpointSettings): Promise<void> {
    const { agent, machine } = this.#machine();
    const membership = await joinNetwork(endpoint, this.#member);
    const { id, name } = membership.network;
    let device: string | undefined;
    try {
      if (this.#find(id) !== undefined) {
        throw new TsvmError(
          'network-conflict',
          `endpoint with name ${this.#member.name} already exists in network ${name}`,
        );
      }
      device = await windowsOf(machine).addNet(bridgePort(membership));
      this.#memberships.push(membership);
      await agent.attachInterface(this.#interfaceOf(membership), this.names);
    } catch (error) {
      this.#forget(membership);
      if (device !== undefined) await windowsOf(machine).removeNet(device);
      await membership.leave();
      throw error;
    }
  }

  /** @param id of the network. @throws TsvmError, AgentError; then it is still connected */
  async disconnect(id: string): Promise<void> {
    const { agent, machine } = this.#machine();
    const membership = this.#find(id);
    if (membership === undefined) {
      throw new TsvmError(
        'network-conflict',
        `container ${this.#member.id} is not connected to network ${id}`,
      );
    }
    const link = this.#interfaceOf(membership);
    const index = this.#memberships.indexOf(membership);
    this.#memberships.splice(index, 1);
    try {
      await agent.detachInterface(link, this.names);
    } catch (error) {
      this.#memberships.splice(index, 0, membership);
      throw error;
    }
    this.#forget(membership);
    try {
      await windowsOf(machine).removeNet(deviceOf(machine, membership.tapName));
    } finally {
      await membership.leave();
    }
  }

  /** The container has another name. */
  rename(name: string): void {
    this.#member = { ...this.#member, name };
    for (const membership of this.#memberships) membership.rename(name);
  }

  /** Leaves all networks. */
  async release(): Promise<void> {
    for (const membership of this.#memberships.splice(0)) await membership.leave();
  }

  #machine(): Running {
    if (this.#running !== undefined) return this.#running;
    throw new TsvmError('container-conflict', `container ${this.#member.id} is not running`);
  }

  #find(id: string): NetworkMembership | undefined {
    return this.#memberships.find(({ network }) => network.id === id);
  }

  #forget(membership: NetworkMembership): void {
    const index = this.#memberships.indexOf(membership);
    if (index >= 0) this.#memberships.splice(index, 1);
    this.#names.delete(membership.mac);
  }

  #interfaceOf(membership: NetworkMembership): NamedInterface {
    return { ...bridgeInterface(membership), name: this.#nameOf(membership.mac) };
  }

  /** `eth0`, `eth1`, ...: the first that is free. */
  #nameOf(mac: string): string {
    const known = this.#names.get(mac);
    if (known !== undefined) return known;
    const taken = new Set(this.#names.values());
    let index = 0;
    while (taken.has(`eth${index}`)) index++;
    const name = `eth${index}`;
    this.#names.set(mac, name);
    return name;
  }
}

function windowsOf({ controls }: MachineHandle) {
  if (controls.spareWindows !== undefined) return controls.spareWindows;
  throw new Error('the machine has no windows for networks');
}

function deviceOf({ controls }: MachineHandle, tapName: string): string {
  for (const [id, { config }] of controls.nets) {
    if (config.kind === 'tap' && config.name === tapName) return id;
  }
  throw new Error(`no network device has the tap ${tapName}`);
}

function bridgePort({ bridge, mac, tapName }: NetworkMembership) {
  return { kind: 'tap', name: tapName, bridge, mac, mtu: BRIDGE_MTU } as const;
}

function bridgeInterface({ address, mac, prefixLength }: NetworkMembership) {
  return { mac, addresses: [`${address}/${prefixLength}`], mtu: BRIDGE_MTU };
}

function membershipFacts(membership: NetworkMembership): InterfaceFacts {
  const { address, mac, names, network, prefixLength } = membership;
  const { gateway, id, name } = network;
  return { network: name, networkId: id, address, prefixLength, gateway, mac, aliases: names };
}
