import type { BalloonStatistics } from '../devices/virtio/balloon/balloon-statistics.ts';
import type { ImageDiskConfig, ResolvedConfig, ResolvedDisk } from './config.ts';
import type { NetConfig, ResolvedNet } from './net-config.ts';
import type { RateLimits } from './rate-limits.ts';

/** A disk of a running machine. */
export interface DiskControls {
  /** As it is now. */
  readonly config: ResolvedDisk;
  /** @throws TsvmError `invalid-config` */
  setRateLimits(limits: RateLimits): void;
  /**
   * Puts another image in place of the present one, which is flushed and closed. Requests in flight
   * are completed first, and the guest is told of the new capacity. Whether the disk is read-only
   * does not change; the limits stay unless `image` has others.
   * @throws TsvmError `invalid-config`, `wrong-state` if the machine has ended or the disk is being
   * replaced, and as a boot does for an image that cannot be opened; the disk stays as it was then
   */
  replaceImage(image: ImageDiskConfig): Promise<void>;
}

/** A network of a running machine. */
export interface NetControls {
  /** As it is now. */
  readonly config: ResolvedNet;
  /** Whether its cable is plugged in. The guest is told; frames are dropped while it is not. */
  setLink(up: boolean): void;
  /** Of each direction. @throws TsvmError `invalid-config` */
  setRateLimits(limits: RateLimits): void;
}

export interface RemovalOptions {
  /** How long the guest may take to let go of the device. */
  readonly timeoutMs: number;
  /** Take the device away after that time, as by pulling it out. */
  readonly force: boolean;
}

/** Adds devices to a machine that runs or is paused, and removes them. */
export interface HotplugControls {
  /**
   * @returns the disk's id, once the guest was told of it
   * @throws TsvmError `invalid-config`, `wrong-state` if the machine has ended, `resource-exhausted` if the
   * bus is full, and as a boot does for an image that cannot be opened
   */
  addDisk(config: ImageDiskConfig): Promise<string>;
  /** As {@link addDisk}. @throws TsvmError `network-unavailable` besides */
  addNet(config: NetConfig): Promise<string>;
  /**
   * Asks the guest to let go of a device, waits until it has, then closes the device; what the guest wrote
   * to a disk is durable then. If the guest takes longer, the device is removed when it lets go of it.
   * @throws TsvmError `wrong-state` if there is no such device, the machine has ended, or the time is up;
   * `disk-io` if what was written could not be made durable: the disk is removed all the same
   */
  remove(id: string, options: RemovalOptions): Promise<void>;
  /** Devices that were removed by force, and that the guest has not let go of. */
  readonly pulledOut: readonly string[];
}

/**
 * Adds networks to a machine without PCI, and removes them. It does not tell the guest of it: a program
 * there binds the virtio-mmio driver to a window that has a device now, and unbinds it before a removal.
 */
export interface SpareWindowControls {
  /**
   * @returns the network's id
   * @throws TsvmError `invalid-config`, `network-unavailable`, `wrong-state` if the machine has ended,
   * `resource-exhausted` if no window is left
   */
  addNet(config: NetConfig): Promise<string>;
  /** Also of a network that was there at the boot. @throws TsvmError `wrong-state` if there is no such network */
  removeNet(id: string): Promise<void>;
}

/** Memory that the guest lends to the host. */
export interface BalloonControls {
  /** How many bytes the guest is to lend; it may take its time. */
  readonly targetBytes: number;
  /** How many bytes it lends, as it says. */
  readonly actualBytes: number;
  /** What the guest last told of its memory. */
  readonly statistics: BalloonStatistics;
  /** @param bytes is rounded down to whole pages */
  setTarget(bytes: number): void;
  /** Asks the guest for statistics; resolves when it has answered, or after a time-out. */
  refreshStatistics(): Promise<void>;
}

/** Memory of a guest that can have more or less of it while it runs. */
export interface MemoryControls {
  /** The most that it can have. */
  readonly maxBytes: number;
  /** How much it is to have; it may take its time, and may not be able to give any back. */
  readonly targetBytes: number;
  /** How much it has. */
  readonly actualBytes: number;
  /**
   * @param bytes from what it booted with, in steps of 2 MiB
   * @throws TsvmError `invalid-config`
   */
  setTarget(bytes: number): void;
}

/**
 * What the host may ask of a machine's devices while the machine runs. A device that takes requests
 * adds them when it is attached; a machine without it lacks them.
 */
export interface MachineControls {
  /** The memory balloon. */
  balloon?: BalloonControls;
  /** For a machine with a maximum of memory. */
  memory?: MemoryControls;
  /** Presses the ACPI power button, which asks the guest to shut down. */
  pressPowerButton?: () => void;
  /** Tells the guest how large the window of its console is, in characters. */
  resizeConsole?: (columns: number, rows: number) => void;
  /** On a machine with PCI and ACPI. */
  hotplug?: HotplugControls;
  /** On a machine with spare windows. */
  spareWindows?: SpareWindowControls;
  /** By the id of the device: `disk0`, `disk1`, … */
  readonly disks: Map<string, DiskControls>;
  /** By the id of the device: `net0`, `net1`, … */
  readonly nets: Map<string, NetControls>;
  /** Resolves with the first failure of a vhost-user backend, whose device serves nothing any more. */
  backendFailed?: Promise<string>;
}

/**
 * `config` with what was changed while the machine ran: that of the next machine after a reset, with the
 * same devices under the same ids.
 */
export function presentConfig(config: ResolvedConfig, controls: MachineControls): ResolvedConfig {
  return {
    ...config,
    ...(controls.memory && { memoryTargetBytes: controls.memory.targetBytes }),
    disks: [...controls.disks.values()].map((disk) => disk.config),
    nets: [...controls.nets.values()].map((net) => net.config),
  };
}
