/** The one place where containers meet networks: `--network`, `-p`, `--dns`, `--add-host`, ... */
import { OWN_ADDRESSES } from '../../backends/net/passt.ts';
import { randomBytes } from '../../host/random.ts';
import { PUBLISHED_PORT_BASE } from '../agent/agent.ts';
import type { ContainerConfig } from '../containers/container-config.ts';
import type { MachinePart } from '../containers/machine-part.ts';
import {
  hostsFile,
  type OutsideNames,
  outsideNames,
  ownNames,
  readHostResolver,
  resolvConf,
  resolverSettings,
} from './container-files.ts';
import {
  HOST_GATEWAY,
  parseDnsOption,
  parseExtraHost,
  parseNameServer,
  parseSearchDomain,
} from './name-flags.ts';
import { NameServer } from './name-server.ts';
import type { InterfaceFacts, NetworkFacts } from './network-facts.ts';
import { parseNetworks } from './network-flags.ts';
import type { NetworkSettings } from './network-settings.ts';
import { openNetworkStore, PREDEFINED } from './network-store.ts';
import { comparePorts, parseExposure, parsePublications } from './port-flags.ts';
import { portsColumn, portsMap } from './ports-text.ts';
import { type PublishedPort, type PublishedPorts, publishPorts } from './published-ports.ts';
import { RunningNetworks, type Uplink } from './running-networks.ts';

/** The command line's options that concern networks, as they were given. */
export interface NetworkOptions {
  readonly networks: readonly string[];
  readonly aliases: readonly string[];
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  readonly macAddress?: string | undefined;
  readonly publish: readonly string[];
  readonly publishAll: boolean;
  readonly expose: readonly string[];
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  readonly addHosts: readonly string[];
}

/** Prefix length of {@link OWN_ADDRESSES}. */
const PREFIX = 24;
/**
 * Of the user-mode interface. With passt's default of 65520, a window of 64 KiB is a single segment, and
 * each waits for a timer: a third of the speed of a stream with passt of Debian 12.
 */
const USER_MTU = 16_000;

/** @throws TsvmError `invalid-config`, `invalid-container`, with Docker's messages */
export function resolveNetwork(options: NetworkOptions): NetworkSettings {
  const ports = parsePublications(options.publish);
  const exposed = new Set([...ports.keys(), ...options.expose.flatMap(parseExposure)]);
  return {
    ...parseNetworks(options),
    ports: Object.fromEntries(ports),
    publishAll: options.publishAll,
    exposed: [...exposed].sort(comparePorts),
    dns: options.dns.map(parseNameServer),
    dnsSearch: options.dnsSearch.map(parseSearchDomain),
    dnsOptions: options.dnsOptions.map(parseDnsOption),
    extraHosts: options.addHosts.map(parseExtraHost),
  };
}

/**
 * Adds what an image has, and checks that the networks exist.
 * @param imagePorts its `ExposedPorts`: `80/tcp`, ...
 * @throws TsvmError `network-not-found`
 */
export function containerNetwork(
  settings: NetworkSettings,
  imagePorts: readonly string[],
): NetworkSettings {
  if (settings.endpoints.length > 0) {
    const store = openNetworkStore();
    for (const { network } of settings.endpoints) store.find(network);
  }
  const ports = imagePorts.map((port) => (port.includes('/') ? port : `${port}/tcp`));
  const exposed = new Set([...settings.exposed, ...ports]);
  return { ...settings, exposed: [...exposed].sort(comparePorts) };
}

/** Prepares the networks and published ports of a container that starts. */
export async function prepareNetworks(config: ContainerConfig): Promise<MachinePart> {
  const { domainname, hostname, name, network } = config;
  if (network.mode === 'none') return withoutNetwork(network);
  const networks = new RunningNetworks(config, network);
  let ports: PublishedPorts | undefined;
  let nameServer: NameServer | undefined;
  const release = async () => {
    nameServer?.close();
    await networks.release();
    await ports?.release();
  };
  try {
    for (const endpoint of network.endpoints) await networks.join(endpoint);
    const { memberships } = networks;
    const isInternal =
      memberships.length > 0 && memberships.every(({ network: { internal } }) => internal);
    ports = isInternal ? undefined : await publishPorts(network, name);
    const mac = (memberships.length === 0 ? network.mac : undefined) ?? randomContainerMac();
    const outside = outsideNames(network.dns);
    networks.uplink = ports === undefined ? undefined : userInterface(network, ports, mac, outside);
    nameServer = new NameServer(
      () => networks.memberships.map(({ containers }) => containers),
      isInternal ? [] : outside.onHost,
    );
    const own = memberships.length === 0 ? [defaultFacts(mac)] : [];
    const interfaces = () => [...own, ...networks.facts];
    const names = ownNames(hostname, domainname);
    const ownName = interfaces()
      .slice(0, 1)
      .map(({ address }) => ({ address, names }));
    const listeners = ports?.listeners ?? [];
    const published = ports?.published ?? [];
    return {
      publishedPorts: [...new Set(listeners.map(({ guestPort }) => guestPort))],
      started: ({ vsock }) => {
        if (vsock !== undefined) nameServer?.listen(vsock);
      },
      assembled: (machine, agent) => {
        networks.running = { machine, agent };
        for (const { fd, guestPort } of listeners.splice(0)) {
          machine.vsock?.publish(fd, PUBLISHED_PORT_BASE + guestPort);
        }
      },
      nets: networks.nets,
      interfaces: networks.interfaces,
      hosts: hostsFile(network.extraHosts, OWN_ADDRESSES.gateway, ownName),
      names: networks.names,
      get facts() {
        return { ports: published, interfaces: interfaces() } satisfies NetworkFacts;
      },
      networks,
      release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

function defaultFacts(mac: string): InterfaceFacts {
  const { address, gateway } = OWN_ADDRESSES;
  const networkId = PREDEFINED['bridge']?.id ?? '';
  return { network: 'bridge', networkId, address, prefixLength: PREFIX, gateway, mac, aliases: [] };
}

function withoutNetwork(network: NetworkSettings): MachinePart {
  return {
    hosts: hostsFile(network.extraHosts, '127.0.0.1', []),
    names: { resolvConf: resolvConf(network.dns, resolverSettings(network, readHostResolver())) },
  };
}

/** The interface to the outside, by which published UDP ports are reached as well. */
function userInterface(
  network: NetworkSettings,
  { forwards }: PublishedPorts,
  mac: string,
  names: OutsideNames,
): Uplink {
  const { address, gateway } = OWN_ADDRESSES;
  const reachesHost = network.extraHosts.some((entry) => entry.endsWith(`:${HOST_GATEWAY}`));
  return {
    net: {
      kind: 'user',
      mac,
      forwards,
      addresses: OWN_ADDRESSES,
      gatewayIsHost: reachesHost,
    },
    interface: {
      mac,
      addresses: [`${address}/${PREFIX}`],
      gateways: [gateway],
      mtu: USER_MTU,
    },
    names,
  };
}

/** Docker's prefix, locally administered. */
export function randomContainerMac(): string {
  return [
    '02',
    '42',
    ...Array.from(randomBytes(4), (byte) => byte.toString(16).padStart(2, '0')),
  ].join(':');
}

function factsOf(facts: Readonly<Record<string, unknown>> | undefined): NetworkFacts {
  const { interfaces = [], ports = [] } = (facts ?? {}) as Partial<NetworkFacts>;
  return { interfaces, ports };
}

/** The published ports of a container. @param facts undefined: it does not run */
export function publishedPorts(
  facts: Readonly<Record<string, unknown>> | undefined,
): readonly PublishedPort[] {
  return factsOf(facts).ports;
}

/** The `PORTS` column of `ps`. @param facts {@link MachinePart.facts} of a container that runs */
export function portsText(
  settings: NetworkSettings,
  facts: Readonly<Record<string, unknown>>,
): string {
  return portsColumn(settings.exposed, factsOf(facts).ports);
}

/** Docker's `NetworkSettings` of `inspect`. @param facts undefined: the container does not run */
export function networkDetails(
  settings: NetworkSettings,
  facts: Readonly<Record<string, unknown>> | undefined,
): object {
  const { interfaces, ports } = factsOf(facts);
  const running = facts !== undefined;
  const names =
    settings.endpoints.length > 0
      ? settings.endpoints.map(({ network }) => network)
      : [settings.mode === 'none' ? 'none' : 'bridge'];
  const networks = names.map((name) => {
    const own = interfaces.find(({ network, networkId }) => network === name || networkId === name);
    const endpoint = settings.endpoints.find(({ network }) => network === name);
    return [
      own?.network ?? name,
      {
        IPAMConfig: endpoint?.ip === undefined ? null : { IPv4Address: endpoint.ip },
        Links: null,
        Aliases: endpoint?.aliases ?? null,
        MacAddress: own?.mac ?? '',
        DriverOpts: null,
        NetworkID: own?.networkId ?? '',
        EndpointID: '',
        Gateway: own?.gateway ?? '',
        IPAddress: own?.address ?? '',
        IPPrefixLen: own?.prefixLength ?? 0,
        IPv6Gateway: '',
        GlobalIPv6Address: '',
        GlobalIPv6PrefixLen: 0,
        DNSNames: own === undefined || endpoint === undefined ? null : own.aliases,
      },
    ] as const;
  });
  const main = settings.mode === 'default' ? interfaces[0] : undefined;
  return {
    Bridge: '',
    SandboxID: '',
    SandboxKey: '',
    Ports: running ? portsMap(settings.exposed, ports) : {},
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: '',
    Gateway: main?.gateway ?? '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    IPAddress: main?.address ?? '',
    IPPrefixLen: main?.prefixLength ?? 0,
    IPv6Gateway: '',
    MacAddress: main?.mac ?? '',
    Networks: Object.fromEntries(networks),
  };
}
