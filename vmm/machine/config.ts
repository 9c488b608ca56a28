import { MEMORY_MIN_BYTES } from '../arch/x86_64/layout.ts';
import { DISK_FORMATS, type DiskFormat } from '../backends/disk/image/format.ts';
import { MEM_BLOCK_BYTES } from '../devices/virtio/mem/mem-block.ts';
import { formatSize } from '../util/size.ts';
import { type CloudInitConfig, checkCloudInit } from './cloud-init/cloud-init-config.ts';
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
  TEXTS,
} from './config-fields.ts';
import {
  CONSOLE_DEVICES,
  type ConsoleDeviceKind,
  type PortConfig,
  resolvePorts,
} from './console-config.ts';
import { checkIdentity, type DeviceIdentity, deviceIds } from './device-ids.ts';
import { type GdbConfig, type ResolvedGdb, resolveGdb } from './gdb-config.ts';
import { ENGINES, type Engine } from './kernel-mode.ts';
import { type NetConfig, type ResolvedNet, resolveNet } from './net-config.ts';
import { TRANSPORTS, type Transport } from './placement.ts';
import { type PmemConfig, type ResolvedPmem, resolvePmems } from './pmem-config.ts';
import { checkRateLimits, type RateLimits } from './rate-limits.ts';
import {
  type ResolvedShare,
  resolveShares,
  type ShareConfig,
  type ShareTreeConfig,
} from './share-config.ts';

/** How a disk image is attached. {@link DISK_DEFAULTS} has the defaults. */
export interface ImageDiskConfig extends DeviceIdentity {
  readonly path: string;
  readonly readOnly?: boolean | undefined;
  /** Determined by the file's name if omitted, never by its content. */
  readonly format?: DiskFormat | undefined;
  /** Writes go to an unnamed temporary file; the image is not changed. */
  readonly overlay?: boolean | undefined;
  /** Where backing images may be: only in the image's folder or below it, or anywhere. */
  readonly backing?: 'same-folder' | 'allow' | undefined;
  readonly limits?: RateLimits | undefined;
}

/** Files that together form a read-only disk, each aligned to a sector; see `JoinedFilesDisk`. */
export interface JoinedDiskConfig extends DeviceIdentity {
  readonly files: readonly string[];
}

export type DiskConfig = ImageDiskConfig | JoinedDiskConfig;

/** A socket device (virtio-vsock). {@link VSOCK_DEFAULTS} has the defaults. */
export interface VsockConfig {
  /**
   * A new socket file, where programs of the host send `CONNECT <port>` to reach a port of the
   * guest; the guest reaches the listener of `<socketPath>_<port>`. Without it, only this process
   * can connect and listen, by `Machine.vsock`.
   */
  readonly socketPath?: string | undefined;
  /** The guest's context identifier, 3 to 2^32 - 2; the host's is 2. */
  readonly guestCid?: number | undefined;
}

/**
 * The configuration of a machine, as plain JSON. {@link CONFIG_DEFAULTS} has the defaults. Paths are
 * relative to the process's working directory.
 */
export interface MachineConfig {
  /** A bzImage or an ELF kernel. Default: the kernel on the first disk. */
  readonly kernelPath?: string | undefined;
  /**
   * A cpio archive of kernel modules, for kernels that have the drivers of virtio as modules. Its
   * `/load-modules` runs first: it loads the drivers of the devices that it finds and goes on with the
   * root that the command line names, or else with the initrd. See guest-images/modules. It is not for
   * a kernel on the first disk.
   */
  readonly modulesPath?: string | undefined;
  /** Default: none, but with a kernel on the first disk, that kernel's. */
  readonly initrdPath?: string | undefined;
  /** Which boot entry of the first disk to boot, by its id or title. Default: what its boot loader would. */
  readonly kernelEntry?: string | undefined;
  /** A kernel for a first disk that is a root file system without a kernel of its own. */
  readonly rootKernelPath?: string | undefined;
  readonly disks?: readonly DiskConfig[] | undefined;
  /** Settings for cloud-init in the guest, on a read-only disk after the others. */
  readonly cloudInit?: CloudInitConfig | undefined;
  /** Files that are memory of the guest, `/dev/pmem0` and so on. */
  readonly pmems?: readonly PmemConfig[] | undefined;
  readonly nets?: readonly NetConfig[] | undefined;
  /** Replaces the default kernel command line. */
  readonly cmdline?: string | undefined;
  /** Appended to the default kernel command line. */
  readonly appendCmdline?: string | undefined;
  /** Number of vCPUs, 1 to 32. */
  readonly cpus?: number | undefined;
  /** Guest memory in bytes, whole MiB. */
  readonly memoryBytes?: number | undefined;
  /**
   * Guest memory can be raised to this, and lowered to `memoryBytes` again, while the machine runs
   * (virtio-mem): `memoryBytes` and whole blocks of 2 MiB. Default: it cannot.
   */
  readonly memoryMaxBytes?: number | undefined;
  /** How much memory the guest is to have once it has booted. Default: `memoryBytes`. */
  readonly memoryTargetBytes?: number | undefined;
  /** Describe the hardware by ACPI tables; otherwise by an MP table and the command line. */
  readonly acpi?: boolean | undefined;
  /** How virtio devices are connected to the machine. */
  readonly transport?: Transport | undefined;
  /**
   * With virtio-mmio and ACPI: windows without a device, for networks that are added while the machine runs,
   * 0 to 8. A program in the guest has to bind the driver to them.
   */
  readonly spareWindows?: number | undefined;
  /** CPU features to hide, as /proc/cpuinfo names them. */
  readonly cpuMask?: readonly string[] | undefined;
  readonly shares?: readonly (ShareConfig | ShareTreeConfig)[] | undefined;
  /** What the kernel's console is: a serial port, or a virtio device (`hvc0`). */
  readonly console?: ConsoleDeviceKind | undefined;
  /** Named ports of a virtio console (`/dev/virtio-ports/NAME` by udev); at most 16. */
  readonly ports?: readonly PortConfig[] | undefined;
  /** A memory balloon (virtio-balloon), to take memory from the guest while it runs. */
  readonly balloon?: boolean | undefined;
  /** Default: none. */
  readonly vsock?: VsockConfig | undefined;
  /** Lets GDB control the machine. Default: none. */
  readonly gdb?: GdbConfig | undefined;
  /** KVM's device. */
  readonly devicePath?: string | undefined;
  /** What executes guest kernel code where there is no hardware virtualization. */
  readonly engine?: Engine | undefined;
  /**
   * Confine the threads of vCPUs and devices by seccomp filters. A forbidden system call, which only an
   * attack or a bug makes, ends the process with code 125. Holds for all machines that are booted later.
   */
  readonly sandbox?: boolean | undefined;
}

export const CPUS_MAX = 32;
const MIB = 2 ** 20;
export const GUEST_CID_MIN = 3;
/** VMADDR_CID_ANY is 2^32 - 1. */
export const GUEST_CID_MAX = 2 ** 32 - 2;
export const MEMORY_MIN_MIB = MEMORY_MIN_BYTES / MIB;
/** Keeps guest addresses well below the limit of any x86-64 CPU. */
export const MEMORY_MAX_MIB = 2 ** 20;
export const SPARE_WINDOWS_MAX = 8;

export const DISK_DEFAULTS = { readOnly: false, overlay: false, backing: 'same-folder' } as const;

export const VSOCK_DEFAULTS = { guestCid: GUEST_CID_MIN } as const;

export const CONFIG_DEFAULTS = {
  disks: [],
  pmems: [],
  nets: [],
  shares: [],
  cpus: 1,
  memoryBytes: 256 * MIB,
  acpi: true,
  transport: 'mmio',
  spareWindows: 0,
  balloon: false,
  console: 'serial',
  ports: [],
  cpuMask: [],
  devicePath: '/dev/kvm',
  engine: 'auto',
  // The process may do other things than running machines, which its end would end, too.
  sandbox: false,
} as const satisfies Partial<MachineConfig>;

export type ResolvedImageDisk = ImageDiskConfig &
  Required<{ [K in keyof typeof DISK_DEFAULTS]: NonNullable<ImageDiskConfig[K]> }>;
/** A disk with all defaults filled in. */
export type ResolvedDisk = ResolvedImageDisk | JoinedDiskConfig;

export type ResolvedVsock = VsockConfig & { readonly guestCid: number };

/** A valid configuration with all defaults filled in. */
export type ResolvedConfig = Omit<MachineConfig, keyof typeof CONFIG_DEFAULTS | 'vsock' | 'gdb'> & {
  readonly [K in Exclude<
    keyof typeof CONFIG_DEFAULTS,
    'disks' | 'pmems' | 'nets' | 'shares'
  >]: NonNullable<MachineConfig[K]>;
} & {
  readonly disks: readonly ResolvedDisk[];
  readonly pmems: readonly ResolvedPmem[];
  readonly nets: readonly ResolvedNet[];
  readonly shares: readonly ResolvedShare[];
  readonly vsock?: ResolvedVsock | undefined;
  readonly gdb?: ResolvedGdb | undefined;
};

const MACHINE_FIELDS: Readonly<Record<keyof MachineConfig, Kind>> = {
  kernelPath: TEXT,
  modulesPath: TEXT,
  initrdPath: TEXT,
  kernelEntry: TEXT,
  rootKernelPath: TEXT,
  disks: LIST,
  cloudInit: RECORD,
  pmems: LIST,
  nets: LIST,
  cmdline: TEXT,
  appendCmdline: TEXT,
  cpus: NUMBER,
  memoryBytes: NUMBER,
  memoryMaxBytes: NUMBER,
  memoryTargetBytes: NUMBER,
  acpi: BOOLEAN,
  transport: oneOf(TRANSPORTS),
  spareWindows: NUMBER,
  balloon: BOOLEAN,
  console: oneOf(CONSOLE_DEVICES),
  ports: LIST,
  cpuMask: TEXTS,
  shares: LIST,
  vsock: RECORD,
  gdb: RECORD,
  devicePath: TEXT,
  engine: oneOf(ENGINES),
  sandbox: BOOLEAN,
};
const IMAGE_DISK_FIELDS: Readonly<Record<keyof ImageDiskConfig, Kind>> = {
  path: TEXT,
  readOnly: BOOLEAN,
  format: oneOf(DISK_FORMATS),
  overlay: BOOLEAN,
  backing: oneOf(['same-folder', 'allow']),
  limits: RECORD,
  id: TEXT,
  slot: NUMBER,
};
const VSOCK_FIELDS: Readonly<Record<keyof VsockConfig, Kind>> = {
  socketPath: TEXT,
  guestCid: NUMBER,
};
const JOINED_DISK_FIELDS: Readonly<Record<keyof JoinedDiskConfig, Kind>> = {
  files: TEXTS,
  id: TEXT,
  slot: NUMBER,
};

/** `defaults` overridden by the fields of `record` that are not undefined. */
function withDefaults<D extends object, R extends object>(defaults: D, record: R): D & R {
  const given = Object.entries(record).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) } as D & R;
}

/** @throws TsvmError `invalid-config` */
export function resolveDisk(disk: DiskConfig): ResolvedDisk {
  if (typeof disk === 'object' && disk !== null && 'files' in disk) {
    checkFields('the disk', disk, JOINED_DISK_FIELDS);
    if (disk.files.length === 0) invalid('a disk of several files has none');
    checkIdentity('disk', disk);
    return disk;
  }
  checkFields('the disk', disk, IMAGE_DISK_FIELDS);
  if (disk.path === undefined) invalid('a disk has no "path"');
  const resolved = withDefaults(DISK_DEFAULTS, disk) as ResolvedImageDisk;
  checkIdentity('disk', resolved);
  if (resolved.limits !== undefined) checkRateLimits(resolved.limits);
  if (resolved.readOnly && resolved.overlay) {
    invalid(
      `the disk ${disk.path} is read-only: it needs no overlay for writes; say one of the two`,
    );
  }
  return resolved;
}

function resolveVsock(vsock: VsockConfig): ResolvedVsock {
  checkFields('the vsock device', vsock, VSOCK_FIELDS);
  const resolved = withDefaults(VSOCK_DEFAULTS, vsock) as ResolvedVsock;
  const { guestCid, socketPath } = resolved;
  if (!Number.isInteger(guestCid) || guestCid < GUEST_CID_MIN || guestCid > GUEST_CID_MAX) {
    invalid(`CID ${guestCid}: give a number from ${GUEST_CID_MIN} to ${GUEST_CID_MAX}`);
  }
  if (socketPath === '') invalid('the vsock socket has an empty path');
  return resolved;
}

function checkKernel(
  { kernelPath, kernelEntry }: MachineConfig,
  [firstDisk]: readonly ResolvedDisk[],
): void {
  if (kernelPath !== undefined) {
    if (kernelEntry === undefined) return;
    invalid('"kernelPath" and "kernelEntry" contradict each other: give one of them');
  }
  if (firstDisk === undefined || 'files' in firstDisk) {
    invalid('the machine has no "kernelPath": name its kernel, or give it a disk with one');
  }
}

/** @throws TsvmError `invalid-config` */
function checkGrowth({
  memoryBytes = 0,
  memoryMaxBytes,
  memoryTargetBytes = memoryBytes,
}: MachineConfig): void {
  if (memoryMaxBytes === undefined) {
    if (memoryTargetBytes === memoryBytes) return;
    invalid('the machine has a "memoryTargetBytes" but no "memoryMaxBytes": give both');
  }
  const maxMib = memoryMaxBytes / MIB;
  if (memoryMaxBytes <= memoryBytes || maxMib > MEMORY_MAX_MIB) {
    invalid(
      `${maxMib} MiB of memory at most: give more than the ${memoryBytes / MIB} MiB that the machine ` +
        `boots with, up to ${MEMORY_MAX_MIB}`,
    );
  }
  if ((memoryMaxBytes - memoryBytes) % MEM_BLOCK_BYTES !== 0) {
    invalid(
      `${maxMib} MiB of memory at most: that is no number of MiB, or one too many or too few`,
    );
  }
  checkMemoryTarget({ memoryBytes, memoryMaxBytes }, memoryTargetBytes);
}

/**
 * Checks how much memory a machine that can grow is to have.
 * @throws TsvmError `invalid-config`
 */
export function checkMemoryTarget(
  limits: { readonly memoryBytes: number; readonly memoryMaxBytes: number },
  targetBytes: number,
): void {
  const { memoryBytes, memoryMaxBytes } = limits;
  if (targetBytes < memoryBytes || targetBytes > memoryMaxBytes) {
    invalid(
      `${formatSize(targetBytes)} of memory: give a size from ${formatSize(memoryBytes)} to ` +
        formatSize(memoryMaxBytes),
    );
  }
  if ((targetBytes - memoryBytes) % MEM_BLOCK_BYTES !== 0) {
    invalid(
      `${formatSize(targetBytes)} of memory: give ${formatSize(memoryBytes)} and a multiple of ` +
        formatSize(MEM_BLOCK_BYTES),
    );
  }
}

function checkSpareWindows({
  acpi,
  spareWindows: count = 0,
  transport,
}: Pick<MachineConfig, 'acpi' | 'spareWindows' | 'transport'>): void {
  if (!Number.isInteger(count) || count < 0 || count > SPARE_WINDOWS_MAX) {
    invalid(`${count} spare windows: give a number from 0 to ${SPARE_WINDOWS_MAX}`);
  }
  if (count > 0 && (transport === 'pci' || acpi === false)) {
    invalid('spare windows need virtio-mmio and ACPI: with PCI, devices are added without them');
  }
}

/**
 * Fills in the defaults and checks everything, including types: `config` may come from a JSON file.
 * @throws TsvmError `invalid-config` with the setting, its value and what is allowed
 */
export function resolveConfig(config: MachineConfig): ResolvedConfig {
  checkFields('the machine', config, MACHINE_FIELDS);
  const filled = withDefaults(CONFIG_DEFAULTS, config);
  const { cpus, memoryBytes, cmdline, appendCmdline } = filled;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > CPUS_MAX) {
    invalid(`${cpus} vCPUs: give a number from 1 to ${CPUS_MAX}`);
  }
  const memoryMib = memoryBytes / MIB;
  if (!Number.isInteger(memoryMib) || memoryMib < MEMORY_MIN_MIB || memoryMib > MEMORY_MAX_MIB) {
    invalid(
      `${memoryMib} MiB of memory: give a whole number of MiB from ${MEMORY_MIN_MIB} to ${MEMORY_MAX_MIB}`,
    );
  }
  checkGrowth(filled);
  if (cmdline !== undefined && appendCmdline !== undefined) {
    invalid('a whole command line and one to append contradict each other: give one of them');
  }
  checkSpareWindows(filled);
  const disks = (filled.disks as readonly DiskConfig[]).map(resolveDisk);
  checkKernel(filled, disks);
  const paths = new Set<string>();
  for (const disk of disks) {
    if ('files' in disk) continue;
    if (paths.has(disk.path)) invalid(`the disk ${disk.path} is given twice`);
    paths.add(disk.path);
  }
  if (filled.cloudInit !== undefined) checkCloudInit(filled.cloudInit);
  const nets = (filled.nets as readonly NetConfig[]).map(resolveNet);
  deviceIds('disk', disks);
  deviceIds('net', nets);
  const pmems = resolvePmems(filled.pmems);
  const shares = resolveShares(filled.shares);
  resolvePorts(filled.ports);
  const vsock = filled.vsock === undefined ? {} : { vsock: resolveVsock(filled.vsock) };
  const gdb = filled.gdb === undefined ? {} : { gdb: resolveGdb(filled.gdb) };
  return { ...filled, disks, pmems, nets, shares, ...vsock, ...gdb } as ResolvedConfig;
}
