/** The fields of requests. */
import { isIPv4, isIPv6 } from 'node:net';
import { parseMacAddress } from '../../util/mac-address.ts';
import { seccompFilter } from '../seccomp/seccomp-filter.ts';
import {
  AgentError,
  type ContainerLimits,
  type ContainerMount,
  type ContainerRoot,
  type NamedInterface,
  type NameSettings,
  type ProcessSpec,
  type ResourceLimit,
  type TmpfsMount,
  type WriteArchiveOptions,
} from './agent.ts';
import { capabilityMask, capabilityNames } from './capabilities.ts';
import { Fields } from './frame-writer.ts';
import {
  INTERFACE,
  LIMITS,
  LINK,
  MOUNT,
  MOUNT_TYPES,
  NAMES,
  PATH,
  ROOT,
  START,
} from './protocol.ts';

/** mount(2) flags by the option that sets them; `exec` and its like clear them. */
const MOUNT_FLAGS = { nosuid: 2, nodev: 4, noexec: 8 } as const;
const TMPFS_MODE = 0o1777;
const SOCKET_MODE = 0o660;
/** The oldest kernel that containers run on, Debian 12's. */
const KERNEL = [6, 1] as const;
const MICROS_PER_CPU = 1_000_000;

/** Docker's for containers with a network of their own; `--sysctl` overrides them. */
const DEFAULT_SYSCTLS = {
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': '0 2147483647',
};

/** setrlimit(2)'s resources by number. */
const RESOURCES = [
  'cpu',
  'fsize',
  'data',
  'stack',
  'core',
  'rss',
  'nproc',
  'nofile',
  'memlock',
  'as',
  'locks',
  'sigpending',
  'msgqueue',
  'nice',
  'rtprio',
  'rttime',
];

function invalid(message: string): AgentError {
  return new AgentError('invalid-request', message);
}

function tmpfsFlags(mount: TmpfsMount): number {
  let flags: number = MOUNT_FLAGS.nosuid | MOUNT_FLAGS.nodev | MOUNT_FLAGS.noexec;
  for (const option of mount.options ?? []) {
    const isSet = option.startsWith('no');
    const flag = MOUNT_FLAGS[(isSet ? option : `no${option}`) as keyof typeof MOUNT_FLAGS];
    flags = isSet ? flags | flag : flags & ~flag;
  }
  return flags;
}

function mountFields(mount: ContainerMount): Fields {
  const fields = new Fields()
    .number(MOUNT.TYPE, MOUNT_TYPES[mount.type])
    .text(MOUNT.DESTINATION, mount.destination)
    .flag(MOUNT.READ_ONLY, mount.readOnly);
  switch (mount.type) {
    case 'share':
      return fields
        .text(MOUNT.SHARE_TAG, mount.tag)
        .text(MOUNT.SOURCE, mount.source)
        .flag(MOUNT.COPY_UP, mount.copyUp);
    case 'tmpfs':
      return fields
        .number(MOUNT.SIZE_BYTES, mount.sizeBytes)
        .number(MOUNT.SIZE_PERCENT, mount.sizePercent)
        .number(MOUNT.INODES, mount.inodes)
        .number(MOUNT.MODE, mount.mode ?? TMPFS_MODE)
        .number(MOUNT.FLAGS, tmpfsFlags(mount))
        .number(MOUNT.USER_ID, mount.userId)
        .number(MOUNT.GROUP_ID, mount.groupId);
    case 'socket':
      return fields
        .number(MOUNT.PORT, mount.port)
        .number(MOUNT.MODE, mount.mode ?? SOCKET_MODE)
        .number(MOUNT.USER_ID, mount.userId)
        .number(MOUNT.GROUP_ID, mount.groupId);
  }
}

/** Number of parts of a path: a parent has fewer than what is in it. */
function depth(mount: ContainerMount): number {
  return mount.destination.split('/').filter((part) => part !== '').length;
}

/** The bytes of an IPv4 or IPv6 address. @throws AgentError `invalid-request` */
export function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  if (!isIPv6(address) || address.includes('%')) throw invalid(`not an IP address: ${address}`);
  // The URL parser writes the last two groups of an address like ::ffff:1.2.3.4 in hexadecimal.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const before = groups(head);
  const after = groups(tail ?? '');
  const zeroes = new Array<string>(8 - before.length - after.length).fill('0');
  const bytes = Buffer.alloc(16);
  for (const [index, group] of [...before, ...zeroes, ...after].entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * index);
  }
  return bytes;
}

function networkBytes(network: string): Buffer {
  const [address = '', length = ''] = network.split('/');
  const bytes = addressBytes(address);
  const prefix = Number(length);
  if (!/^\d+$/.test(length) || prefix > 8 * bytes.length) {
    throw invalid(`not an address with a prefix length: ${network}`);
  }
  return Buffer.concat([bytes, Buffer.of(prefix)]);
}

export function linkFields(
  link: NamedInterface,
  { nameServers, resolvConf }: NameSettings,
): Fields {
  const fields = new Fields()
    .fields(LINK.INTERFACE, interfaceFields(link))
    .text(LINK.RESOLV_CONF, resolvConf);
  return nameServers === undefined ? fields : fields.fields(LINK.NAMES, nameFields(nameServers));
}

function nameFields(servers: readonly string[]): Fields {
  const fields = new Fields();
  for (const server of servers) fields.bytes(NAMES.SERVER, addressBytes(server));
  return fields;
}

function interfaceFields(link: NamedInterface): Fields {
  const mac = parseMacAddress(link.mac);
  if (mac === undefined) throw invalid(`not a MAC address: ${link.mac}`);
  const fields = new Fields();
  if (link.deviceMac !== undefined) {
    const deviceMac = parseMacAddress(link.deviceMac);
    if (deviceMac === undefined) throw invalid(`not a MAC address: ${link.deviceMac}`);
    fields.bytes(INTERFACE.DEVICE_MAC, deviceMac);
  }
  fields
    .bytes(INTERFACE.MAC, mac)
    .text(INTERFACE.NAME, link.name)
    .flag(INTERFACE.DHCP, link.dhcp)
    .number(INTERFACE.MTU, link.mtu);
  for (const address of link.addresses ?? []) {
    fields.bytes(INTERFACE.ADDRESS, networkBytes(address));
  }
  for (const gateway of link.gateways ?? []) {
    fields.bytes(INTERFACE.GATEWAY, addressBytes(gateway));
  }
  return fields;
}

export function limitsFields(limits: ContainerLimits): Fields {
  const { cpus } = limits;
  return new Fields()
    .number(LIMITS.MEMORY_BYTES, limits.memoryBytes)
    .number(LIMITS.CPU_MICROS, cpus === undefined ? undefined : Math.round(cpus * MICROS_PER_CPU))
    .number(LIMITS.CPU_WEIGHT, limits.cpuWeight)
    .text(LIMITS.CPUSET, limits.cpuset)
    .number(LIMITS.PIDS, limits.pids);
}

export function rootFields(root: ContainerRoot): Fields {
  const fields = new Fields()
    .number(ROOT.METADATA_BYTES, root.metadataBytes)
    .flag(ROOT.WRITABLE_MEMORY, root.writable === 'memory')
    .flag(ROOT.READ_ONLY, root.readOnly)
    .text(ROOT.HOSTNAME, root.hostname)
    .text(ROOT.DOMAINNAME, root.domainname)
    .text(ROOT.HOSTS, root.hosts)
    .text(ROOT.RESOLV_CONF, root.resolvConf)
    .fields(ROOT.LIMITS, limitsFields(root.limits ?? {}))
    .number(ROOT.SHM_BYTES, root.shmBytes)
    .flag(ROOT.PRIVILEGED, root.privileged)
    .flag(ROOT.INIT, root.init);
  if (root.nameServers !== undefined) fields.fields(ROOT.NAMES, nameFields(root.nameServers));
  for (const mount of [...(root.mounts ?? [])].sort((a, b) => depth(a) - depth(b))) {
    fields.fields(ROOT.MOUNT, mountFields(mount));
  }
  for (const [index, link] of (root.interfaces ?? []).entries()) {
    const name = link.name ?? `eth${index}`;
    fields.fields(ROOT.INTERFACE, interfaceFields({ ...link, name }));
  }
  for (const port of root.publishedPorts ?? []) fields.number(ROOT.PUBLISHED_PORT, port);
  for (const [name, value] of Object.entries({ ...DEFAULT_SYSCTLS, ...root.sysctls })) {
    fields.text(ROOT.SYSCTL, `${name}=${value}`);
  }
  return fields;
}

function resourceLimitBytes(limit: ResourceLimit): Buffer {
  const number = RESOURCES.indexOf(limit.name);
  if (number < 0) throw invalid(`invalid ulimit type: ${limit.name}`);
  const bytes = Buffer.alloc(20);
  bytes.writeUInt32LE(number, 0);
  // -1 becomes RLIM_INFINITY.
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(limit.soft)), 4);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(limit.hard)), 12);
  return bytes;
}

export function processFields(spec: ProcessSpec): Fields {
  const inGuest = spec.scope === 'guest';
  const privileged = spec.privileged === true || inGuest;
  const capabilities = capabilityMask({ ...spec, privileged });
  const { seccomp = 'default' } = spec;
  const fields = new Fields()
    .flag(START.IN_GUEST, inGuest)
    .texts(START.ARGUMENT, spec.args)
    .texts(START.VARIABLE, spec.env)
    .text(START.DIRECTORY, spec.cwd)
    .text(START.USER, spec.user)
    .texts(START.GROUP, spec.groupAdd)
    .number(START.COLUMNS, spec.terminal?.columns)
    .number(START.ROWS, spec.terminal?.rows)
    .flag(START.STDIN, spec.stdin)
    .number(START.CAPABILITIES, capabilities)
    .flag(START.NO_NEW_PRIVILEGES, spec.noNewPrivileges)
    .flag(START.SECCOMP, !privileged && seccomp === 'default')
    .number(START.OOM_SCORE_ADJUST, spec.oomScoreAdjust);
  if (!privileged && typeof seccomp === 'object') {
    const target = { capabilities: capabilityNames(capabilities), kernel: KERNEL } as const;
    fields.bytes(START.SECCOMP_FILTER, seccompFilter(seccomp, target));
  }
  for (const limit of spec.resourceLimits ?? []) {
    fields.bytes(START.RESOURCE_LIMIT, resourceLimitBytes(limit));
  }
  return fields;
}

export function pathFields(path: string): Fields {
  return new Fields().text(PATH.PATH, path);
}

export function writeArchiveFields(path: string, options: WriteArchiveOptions): Fields {
  return pathFields(path)
    .flag(PATH.NO_OVERWRITE_DIRECTORY, options.noOverwriteDirectory)
    .flag(PATH.KEEP_OWNERS, options.keepOwners);
}
