import type { DiskConfig, MachineConfig } from '../../machine/config.ts';

/** What all containers boot: a kernel, and the agent in an initramfs. */
export interface ContainerGuest {
  readonly kernelPath: string;
  readonly modulesPath?: string | undefined;
  readonly agentPath: string;
}

/** What a container's machine has before its image is known. */
export interface MachineShape {
  readonly guest: ContainerGuest;
  readonly cpus: number;
  /** Bytes. */
  readonly memoryBytes: number;
}

/** An empty file system, and an image over it that is as good as empty. Neither is ever changed. */
export interface EmptyLayer {
  /** A qcow2 image, whose backing file is found from its folder, and from any beside that one. */
  readonly imagePath: string;
  readonly fileSystemPath: string;
}

/** A shape that a template can be made of. */
export interface TemplateShape extends MachineShape {
  /**
   * The writable layer is a new one, a copy of this, which the guest has mounted already. Undefined: any
   * other, which comes later.
   */
  readonly emptyLayer?: EmptyLayer | undefined;
  /** How many user networks it has. */
  readonly nets: number;
}

export type MachineParts = Pick<MachineConfig, 'disks' | 'nets' | 'shares'>;

/**
 * The guest's kernel says only what is wrong. It does not clear what it allocates for itself: that
 * protects programs of a kernel from each other, and all of this one's are the container's. With it, a
 * sixth of the kernel's time for a transfer is spent on pages that are overwritten at once. It looks
 * through the table of connections every minute, which has 65,536 buckets otherwise. It does not compact
 * memory ahead of need: its thread would look twice a second, two thirds of what an idle machine costs.
 */
const KERNEL_WORDS =
  'quiet loglevel=4 init_on_alloc=0 nf_conntrack.hashsize=2048 sysctl.vm.compaction_proactiveness=0';
/** The agent brings the other CPUs up: see guest-images/agent/processors.h. */
const LATE_CPUS = 'maxcpus=1';
/**
 * For networks that a running container joins; and for the volumes, and the networks with a bridge, of a
 * machine that goes on from a template, which has none.
 */
const SPARE_WINDOWS = 5;
/** The clock that goes on where a saved machine does, whatever became of the TSC. */
const RESTORED_CLOCK = 'clocksource=kvm-clock';

/** @param parts what this machine has besides */
export function machineOf(
  { cpus, guest, memoryBytes }: MachineShape,
  parts: MachineParts,
): MachineConfig {
  return {
    ...parts,
    kernelPath: guest.kernelPath,
    modulesPath: guest.modulesPath,
    initrdPath: guest.agentPath,
    cpus,
    memoryBytes,
    // Memory that the guest frees goes back to the host.
    balloon: true,
    vsock: {},
    spareWindows: SPARE_WINDOWS - (parts.shares?.length ?? 0),
    sandbox: true,
    appendCmdline: cpus > 1 ? `${KERNEL_WORDS} ${LATE_CPUS}` : KERNEL_WORDS,
  };
}

/**
 * The machine that a template is made of.
 * @param placeholder a file that stands for a disk that comes later
 * @param layer a copy of the empty layer's image, if the shape has one
 */
export function templateOf(
  shape: TemplateShape,
  placeholder: string,
  layer?: string,
): MachineConfig {
  const config = machineOf(shape, {
    disks: [
      { files: [placeholder] },
      layer === undefined ? { path: placeholder, format: 'raw' } : layerDisk(layer),
    ],
    nets: Array.from({ length: shape.nets }, (_, index) => ({
      kind: 'user',
      mac: deviceMac(index),
    })),
  });
  return { ...config, appendCmdline: `${config.appendCmdline} ${RESTORED_CLOCK}` };
}

/** The disk of a writable layer. */
export function layerDisk(path: string): DiskConfig {
  return { path, format: 'qcow2', backing: 'allow' };
}

/** The address of the network device of all machines that go on from a template, locally administered. */
export function deviceMac(index: number): string {
  return `02:00:00:00:00:${(index + 1).toString(16).padStart(2, '0')}`;
}

/**
 * The shape of the template that a machine can go on from; undefined if there can be none. Volumes and
 * networks with a bridge come later, to its spare windows.
 * @param emptyLayer what the machine's writable layer is to be a copy of, if there is none yet
 */
export function templatedShape(
  shape: MachineShape,
  parts: MachineParts,
  emptyLayer?: EmptyLayer,
): TemplateShape | undefined {
  const { early, late } = netsOf(parts);
  const lateCount = late.length + (parts.shares?.length ?? 0);
  if (lateCount > SPARE_WINDOWS || early.some(({ mtu }) => mtu !== undefined)) return undefined;
  return { ...shape, nets: early.length, emptyLayer };
}

type Nets = NonNullable<MachineParts['nets']>;

/** User networks, which a template has, and the others. */
export function netsOf({ nets = [] }: MachineParts): { readonly early: Nets; readonly late: Nets } {
  return {
    early: nets.filter(({ kind }) => kind === 'user'),
    late: nets.filter(({ kind }) => kind !== 'user'),
  };
}
