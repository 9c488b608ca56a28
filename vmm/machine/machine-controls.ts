import type { BalloonStatistics } from '../devices/virtio/balloon/balloon-statistics.ts';
import type { RateLimits } from './rate-limits.ts';

/** A disk of a running machine. */
export interface DiskControls {
  /** @throws TsvmError `invalid-config` */
  setRateLimits(limits: RateLimits): void;
}

/** A network of a running machine. */
export interface NetControls {
  /** Whether its cable is plugged in. The guest is told; frames are dropped while it is not. */
  setLink(up: boolean): void;
  /** Of each direction. @throws TsvmError `invalid-config` */
  setRateLimits(limits: RateLimits): void;
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

/**
 * What the host may ask of a machine's devices while the machine runs. A device that takes requests
 * adds them when it is attached; a machine without it lacks them.
 */
export interface MachineControls {
  /** The memory balloon. */
  balloon?: BalloonControls;
  /** Presses the ACPI power button, which asks the guest to shut down. */
  pressPowerButton?: () => void;
  /** Tells the guest how large the window of its console is, in characters. */
  resizeConsole?: (columns: number, rows: number) => void;
  /** By the id of the device: `disk0`, `disk1`, … */
  readonly disks: Map<string, DiskControls>;
  /** By the id of the device: `net0`, `net1`, … */
  readonly nets: Map<string, NetControls>;
}
