import type { MachineConfig } from '../../machine/config.ts';

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

/** A shape that a template can be made of. */
export interface TemplateShape extends MachineShape {
  /** How many user networks it has. */
  readonly nets: number;
}

export type MachineParts = Pick<MachineConfig, 'disks' | 'nets' | 'shares'>;

/**
 * The guest's kernel says only what is wrong. It does not clear what it allocates for itself: that
 * protects programs of a kernel from each other, and all of this one's are the container's. With it, a
 * sixth of the kernel's time for a transfer is spent on pages that are overwritten at once. It looks
 * through the table of connections every minute, which has 65,536 buckets otherwise.
 */
const KERNEL_WORDS = 'quiet loglevel=4 init_on_alloc=0 nf_conntrack.hashsize=2048';
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

/** The machine that a template is made of. @param placeholder a file that stands for both disks */
export function templateOf(shape: TemplateShape, placeholder: string): MachineConfig {
  const config = machineOf(shape, {
    disks: [{ files: [placeholder] }, { path: placeholder, format: 'raw' }],
    nets: Array.from({ length: shape.nets }, (_, index) => ({
      kind: 'user',
      mac: deviceMac(index),
    })),
  });
  return { ...config, appendCmdline: `${config.appendCmdline} ${RESTORED_CLOCK}` };
}

/** The address of the network device of all machines that go on from a template, locally administered. */
export function deviceMac(index: number): string {
  return `02:00:00:00:00:${(index + 1).toString(16).padStart(2, '0')}`;
}

/**
 * The shape of the template that a machine can go on from; undefined if there can be none. Volumes and
 * networks with a bridge come later, to its spare windows.
 */
export function templatedShape(
  shape: MachineShape,
  parts: MachineParts,
): TemplateShape | undefined {
  const { early, late } = netsOf(parts);
  const lateCount = late.length + (parts.shares?.length ?? 0);
  if (lateCount > SPARE_WINDOWS || early.some(({ mtu }) => mtu !== undefined)) return undefined;
  return { ...shape, nets: early.length };
}

type Nets = NonNullable<MachineParts['nets']>;

/** User networks, which a template has, and the others. */
export function netsOf({ nets = [] }: MachineParts): { readonly early: Nets; readonly late: Nets } {
  return {
    early: nets.filter(({ kind }) => kind === 'user'),
    late: nets.filter(({ kind }) => kind !== 'user'),
  };
}
