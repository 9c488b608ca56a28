import { hotplugRegion, memoryRegions, PVM_REGION_GPA } from '../arch/x86_64/layout.ts';
import type { RegisterHandler } from '../bus/register-bank.ts';
import type { ConsoleOutput } from '../devices/console-output.ts';
import type { VirtioDevice } from '../devices/virtio/device.ts';
import type { KernelMode } from '../kvm/host.ts';
import { KvmMemory, type MemoryBacking } from '../kvm/memory.ts';
import type { QueueHost } from '../kvm/queue-workers.ts';
import type { KvmRegisterBank } from '../kvm/register-bank.ts';
import { Vm } from '../kvm/vm.ts';
import type { Logger } from '../observability/logger.ts';
import type { ResolvedConfig } from './config.ts';
import type { DeviceOwner } from './device-scope.ts';
import type { PmemFile } from './devices/pmem-files.ts';
import { Machine } from './machine.ts';
import { type MmioPlacement, type PciPlacement, PlacementAllocator } from './placement.ts';

/** The host's end of a machine's console. */
export interface ConsoleBackend extends ConsoleOutput {
  /**
   * Starts to pass input to `receive`, which returns false to pause it. `onEnd` is called when there
   * will be no more input. Called again after a restart of the machine.
   */
  startInput(receive: (bytes: Uint8Array) => boolean, onEnd?: () => void): void;
  /** Continues paused input. */
  resumeInput(): void;
}

/** Discards output and has no input. */
export const NO_CONSOLE: ConsoleBackend = {
  write: () => true,
  onceDrained: () => Promise.resolve(),
  startInput: () => {},
  resumeInput: () => {},
};

/** What a machine needs from its host besides KVM. */
export interface MachineHost {
  readonly console: ConsoleBackend;
  readonly logger: Logger;
  /**
   * Called when the guest has written a byte to the progress port.
   * @param timeMs time of the write, in CLOCK_MONOTONIC
   */
  readonly onProgress: (value: number, timeMs: number) => void;
  /** The machine goes on from a saved one, whose disks had other sizes: its guest is told of these. */
  readonly replacesDisks?: boolean;
}

/** Creates a device, given the resources for its queue workers. */
export type CreateDevice = (host: QueueHost) => VirtioDevice;

/** Where virtio devices with the PCI transport are attached. */
export interface PciBus {
  /** @param owner has the device until it is closed */
  attach(
    placement: PciPlacement,
    queueCount: number,
    createDevice: CreateDevice,
    owner: DeviceOwner,
  ): void;
  /** Empties a slot: the guest reaches the device no longer. Its owner closes it. */
  detach(placement: PciPlacement): void;
  /** Takes away a device that the guest still uses, until it lets go of it and {@link detach} is called. */
  pullOut(placement: PciPlacement): void;
}

/** A device that can be removed while the machine runs. */
export interface RemovableDevice {
  readonly placement: PciPlacement;
  /**
   * Ends its I/O, makes durable what the guest has written, and closes it. The guest no longer reaches
   * it. Rejects if what was written could not be made durable; it is closed all the same.
   */
  close(): Promise<void>;
  /**
   * Does the same while the guest still uses it; until the guest lets go of it, the device stays and
   * fails what it is asked for. A device without it is taken off the bus instead.
   */
  fail?(): Promise<void>;
}

/** A window of virtio-mmio registers. */
export interface VirtioWindow {
  /** @param owner has the device until it is closed; then the window is empty again */
  plug(queueCount: number, createDevice: CreateDevice, owner: DeviceOwner): void;
}

/** A network on a machine with spare windows. */
export interface WindowNet {
  readonly placement: MmioPlacement;
  /** Closes it. No driver of the guest may use it any more. */
  close(): Promise<void>;
}

function memoryBacking({ balloon, shares }: ResolvedConfig): MemoryBacking {
  // Other processes serve shared folders: they map the memory.
  if (shares.length > 0) return 'memfd';
  // A balloon gives single pages back: the host would keep, or fill again, the huge pages they are part of.
  return balloon ? 'anonymous' : 'huge';
}

/** A machine with its VM and memory, to which devices are attached. */
export class Assembly {
  readonly config: ResolvedConfig;
  readonly kernelMode: KernelMode;
  readonly host: MachineHost;
  readonly memory: KvmMemory;
  readonly vm: Vm;
  readonly machine: Machine;
  readonly placements: PlacementAllocator;
  /** Files that are guest memory; the machine closes them. */
  readonly pmemFiles: readonly PmemFile[];
  /** Attached before the devices on it, if there are to be any. */
  pciBus: PciBus | undefined;
  /** By the id of the device. */
  readonly removable = new Map<string, RemovableDevice>();
  readonly mmioWindows = new Map<MmioPlacement, VirtioWindow>();
  /** By the id of the device: those that can be removed, on a machine without PCI. */
  readonly windowNets = new Map<string, WindowNet>();

  readonly #pending: Promise<void>[] = [];

  /** Takes over the files, unless it throws. */
  constructor(
    config: ResolvedConfig,
    kernelMode: KernelMode,
    host: MachineHost,
    pmemFiles: readonly PmemFile[] = [],
  ) {
    const { devicePath, cpus, memoryBytes, memoryMaxBytes } = config;
    // Memory that may be plugged later is there from the beginning, and takes none of the host's yet.
    const regions = [
      ...memoryRegions(memoryBytes),
      ...(memoryMaxBytes === undefined ? [] : [hotplugRegion(memoryBytes, memoryMaxBytes)]),
    ];
    const files = pmemFiles.map(({ mapping }) => mapping);
    const memory = new KvmMemory(regions, memoryBacking(config), files);
    const onWake = () => this.machine.wake();
    try {
      this.vm = new Vm({ devicePath, cpus, memory, kernelMode, pvmGpa: PVM_REGION_GPA, onWake });
    } catch (error) {
      memory.close();
      throw error;
    }
    this.config = config;
    this.kernelMode = kernelMode;
    this.host = host;
    this.memory = memory;
    this.pmemFiles = pmemFiles;
    this.machine = new Machine({ logger: host.logger, vm: this.vm, memory });
    for (const file of pmemFiles) this.machine.own(() => file.close());
    const slots = [...config.disks, ...config.nets].map(({ slot }) => slot);
    this.placements = new PlacementAllocator(
      config.transport,
      config.acpi,
      slots.filter((slot) => slot !== undefined),
    );
  }

  /** The machine is started after `work`; what it rejects with, {@link ready} does. */
  awaitBeforeStart(work: Promise<void>): void {
    work.catch(() => {});
    this.#pending.push(work);
  }

  /** Resolves when every device can serve. */
  async ready(): Promise<void> {
    await Promise.all(this.#pending);
  }

  /** Attaches a device's registers to a bus. `handler` gets the accesses that the bank does not serve. */
  attach(
    space: 'pio' | 'mmio',
    base: number,
    bank: KvmRegisterBank,
    handler: RegisterHandler,
  ): void {
    this.machine.bus.attach(this.vm.attachBank(space, base, bank), handler);
  }
}
