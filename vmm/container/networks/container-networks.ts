/** The one place where containers meet networks: `--network`, `-p`, `--dns`, `--add-host`, ... */
import { randomBytes } from 'node:crypto';
import { OWN_ADDRESSES } from '../../backends/net/passt.ts';
import type { ContainerConfig } from '../containers/container-config.ts';
import type { MachinePart } from '../containers/machine-part.ts';
import {
  hostsFile,
  outsideNames,
  ownNames,
  readHostResolver,
  resolvConf,
} from './container-files.ts';
import {
  HOST_GATEWAY,
  parseDnsOption,
  parseExtraHost,
  parseNameServer,
  parseSearchDomain,
} from './name-flags.ts';
import { parseNetworks } from './network-flags.ts';
import type { NetworkSettings } from './network-settings.ts';
import { comparePorts, parseExposure, parsePublications } from './port-flags.ts';
import { portsColumn, portsMap } from './ports-text.ts';
import { type PublishedPort, type PublishedPorts, publishPorts } from './published-ports.ts';

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
  /** `ExposedPorts` of the image: `80/tcp`, ... */
  readonly imagePorts: readonly string[];
}

/** Prefix length of {@link OWN_ADDRESSES}. */
const PREFIX = 24;
/** passt's default, which it announces by DHCP. */
const USER_MTU = 65_520;

/** What is known of a container's networks while it runs: {@link MachinePart.facts}. */
export interface NetworkFacts {
  readonly ports: readonly PublishedPort[];
  readonly interfaces: readonly InterfaceFacts[];
}

/** An interface of a running container. */
export interface InterfaceFacts {
  /** Name of the network; `bridge` for the default one, as Docker calls it. */
  readonly network: string;
  readonly networkId: string;
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway: string;
  readonly mac: string;
  readonly aliases: readonly string[];
}

/** @throws TsvmError `invalid-config`, `invalid-container`, with Docker's messages */
export function resolveNetwork(options: NetworkOptions): NetworkSettings {
  const ports = parsePublications(options.publish);
  const exposed = new Set([
    ...ports.keys(),
    ...options.expose.flatMap(parseExposure),
    ...options.imagePorts.map((port) => (port.includes('/') ? port : `${port}/tcp`)),
  ]);
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

/** Prepares the networks and published ports of a container that starts. */
export async function prepareNetworks(config: ContainerConfig): Promise<MachinePart> {
  const { domainname, hostname, name, network } = config;
  if (network.mode === 'none') return withoutNetwork(network);
  const ports = await publishPorts(network, name);
  const mac = network.mac ?? randomContainerMac();
  const uplink = userInterface(network, ports, mac);
  const own = [{ address: OWN_ADDRESSES.address, names: ownNames(hostname, domainname) }];
  const facts: NetworkFacts = {
    ports: ports.published,
    interfaces: [
      {
        network: 'bridge',
        networkId: '',
        address: OWN_ADDRESSES.address,
        prefixLength: PREFIX,
        gateway: OWN_ADDRESSES.gateway,
        mac,
        aliases: [],
      },
    ],
  };
  return {
    nets: [uplink.net],
    interfaces: [uplink.interface],
    hosts: hostsFile(network.extraHosts, OWN_ADDRESSES.gateway, own),
    resolvConf: resolvConf(uplink.nameServers, network, readHostResolver()),
    facts: { ...facts },
    release: () => ports.release(),
  };
}

function withoutNetwork(network: NetworkSettings): MachinePart {
  return {
    hosts: hostsFile(network.extraHosts, '127.0.0.1', []),
    resolvConf: resolvConf(network.dns, network, readHostResolver()),
  };
}

/** The interface to the outside, by which published ports are reached as well. */
function userInterface(network: NetworkSettings, { forwards }: PublishedPorts, mac: string) {
  const { address, gateway } = OWN_ADDRESSES;
  const names = outsideNames(network.dns, gateway);
  const asksHost = network.extraHosts.some((entry) => entry.endsWith(`:${HOST_GATEWAY}`));
  return {
    net: {
      kind: 'user',
      mac,
      forwards,
      addresses: OWN_ADDRESSES,
      gatewayIsHost: asksHost || names.needsGateway,
    } as const,
    interface: {
      mac,
      addresses: [`${address}/${PREFIX}`],
      gateways: [gateway],
      mtu: USER_MTU,
    },
    nameServers: names.servers,
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
