import { resolve } from 'node:path';
import { PCI_HOTPLUG_GSI, PCI_HOTPLUG_PORTS } from '../../arch/x86_64/layout.ts';
import { PCI_HOTPLUG_BANK, PciHotplug } from '../../devices/pci/hotplug.ts';
import { errorText, TsvmError } from '../../errors.ts';
import { KvmRegisterBank } from '../../kvm/register-bank.ts';
import type { Assembly, PciBus, RemovableDevice } from '../assembly.ts';
import { type ImageDiskConfig, resolveDisk } from '../config.ts';
import { invalid } from '../config-fields.ts';
import { type DeviceIdentity, type DeviceKind, freeId } from '../device-ids.ts';
import { type DevicePlace, DeviceScope } from '../device-scope.ts';
import type { HotplugControls, RemovalOptions } from '../machine-controls.ts';
import { type NetConfig, resolveNet } from '../net-config.ts';
import { type Placed, placed } from '../placement.ts';

/** The registers of hotplug, and what the host may do with them. */
export function attachHotplug(assembly: Assembly, bus: PciBus): void {
  const registers = new PciHotplug({
    interrupt: assembly.vm.interruptLine(PCI_HOTPLUG_GSI),
    onEject: (slot) => hotplug.ejected(slot),
  });
  const hotplug = new Hotplug(assembly, bus, registers);
  assembly.attach('pio', PCI_HOTPLUG_PORTS, new KvmRegisterBank(PCI_HOTPLUG_BANK), registers);
  assembly.machine.addDevice(registers);
  assembly.machine.controls.hotplug = hotplug;
}

/** A removal that the guest was asked for; it may come true long after nobody waits for it. */
interface Removal {
  readonly id: string;
  readonly device: RemovableDevice;
  /** Settled when the device is closed. */
  readonly done: PromiseWithResolvers<void>;
  isWaitedFor: boolean;
  isClosing: boolean;
  isPulledOut: boolean;
}

class Hotplug implements HotplugControls {
  readonly #assembly: Assembly;
  readonly #bus: PciBus;
  readonly #registers: PciHotplug;
  /** Ids of devices that are being added. */
  readonly #adding = new Set<string>();
  /** By the slot. */
  readonly #removals = new Map<number, Removal>();

  constructor(assembly: Assembly, bus: PciBus, registers: PciHotplug) {
    this.#assembly = assembly;
    this.#bus = bus;
    this.#registers = registers;
  }

  async addDisk(config: ImageDiskConfig): Promise<string> {
    const disk = resolveDisk(config);
    for (const [id, { config: other }] of this.#assembly.machine.controls.disks) {
      if ('files' in disk || 'files' in other) continue;
      if (resolve(other.path) === resolve(disk.path)) invalid(`${disk.path} is the file of ${id}`);
    }
    return this.#add('disk', disk, async (config, place) => {
      const { attachDisk } = await import('./disks.ts');
      await attachDisk(this.#assembly, config, place);
    });
  }

  async addNet(config: NetConfig): Promise<string> {
    const net = resolveNet(config);
    return this.#add('net', net, async (config, place) => {
      const { attachNet } = await import('./nets.ts');
      await attachNet(this.#assembly, config, place);
    });
  }

  async #add<C extends DeviceIdentity>(
    kind: DeviceKind,
    config: C,
    attach: (config: Placed<C>, place: DevicePlace) => Promise<void>,
  ): Promise<string> {
    const { machine, placements, removable, host } = this.#assembly;
    this.#requireMachine();
    const has = (each: string) => this.#adding.has(each) || removable.has(each);
    if (config.id !== undefined && has(config.id)) invalid(`there is a ${config.id} already`);
    const id = config.id ?? freeId(kind, { has });
    const placement = placements.allocateSlot(config.slot);
    this.#adding.add(id);
    const scope = new DeviceScope(machine);
    try {
      await attach(placed(config, id, placement), { placement, scope });
      this.#requireMachine();
      this.#registers.announce(placement.slot);
      return id;
    } catch (error) {
      this.#refuse(id);
      removable.delete(id);
      await scope.close().catch((failure: unknown) => host.logger.error(errorText(failure)));
      placements.release(placement);
      throw error;
    } finally {
      this.#adding.delete(id);
    }
  }

  async remove(id: string, { timeoutMs, force }: RemovalOptions): Promise<void> {
    const { machine, removable } = this.#assembly;
    const device = removable.get(id);
    if (device === undefined) {
      const known = [...removable.keys()].join(', ') || 'none';
      throw new TsvmError('wrong-state', `the machine has no ${id} (it has: ${known})`);
    }
    this.#requireMachine();
    const removal = this.#askFor(id, device);
    const waiting = new AbortController();
    const timer = setTimeout(() => waiting.abort(), timeoutMs);
    removal.isWaitedFor = true;
    try {
      const timedOut = new Promise<'timed out'>((resolved) => {
        waiting.signal.addEventListener('abort', () => resolved('timed out'));
      });
      const outcome = await Promise.race([removal.done.promise, machine.ended, timedOut]);
      if (outcome === undefined) return;
      if (outcome !== 'timed out') throw ended();
      if (force) await this.#pullOut(removal);
      else throw notReleased(id, timeoutMs);
    } finally {
      clearTimeout(timer);
      removal.isWaitedFor = false;
    }
  }

  get pulledOut(): readonly string[] {
    return [...this.#removals.values()].filter((each) => each.isPulledOut).map(({ id }) => id);
  }

  /** The guest has let go of the device in a slot. What it was not asked for is ignored. */
  async ejected(slot: number): Promise<void> {
    const removal = this.#removals.get(slot);
    if (removal === undefined) return;
    const { id, device, isWaitedFor } = removal;
    this.#bus.detach(device.placement);
    await this.#close(removal);
    this.#removals.delete(slot);
    this.#registers.forget(slot);
    this.#assembly.placements.release(device.placement);
    if (!isWaitedFor) this.#assembly.host.logger.info(`${id}: the guest has let go of it`);
  }

  #askFor(id: string, device: RemovableDevice): Removal {
    const { slot } = device.placement;
    let removal = this.#removals.get(slot);
    if (removal === undefined) {
      removal = {
        id,
        device,
        done: Promise.withResolvers<void>(),
        isWaitedFor: false,
        isClosing: false,
        isPulledOut: false,
      };
      // A failure is for those who wait; otherwise it is in the log.
      removal.done.promise.catch(() => {});
      this.#removals.set(slot, removal);
    }
    this.#registers.requestEjection(slot);
    return removal;
  }

  /** Takes a device away that the guest did not let go of. Its slot stays taken until it does. */
  async #pullOut(removal: Removal): Promise<void> {
    const { id, device, done } = removal;
    removal.isPulledOut = true;
    if (device.fail !== undefined) {
      try {
        await device.fail();
        this.#refuse(id);
        return;
      } catch (error) {
        this.#assembly.host.logger.error(`${id}: ${errorText(error)}`);
      }
    }
    this.#bus.pullOut(device.placement);
    await this.#close(removal);
    await done.promise;
  }

  /** Never rejects: {@link Removal.done} does. */
  async #close(removal: Removal): Promise<void> {
    const { id, device, done } = removal;
    const { removable, host } = this.#assembly;
    if (removal.isClosing) return done.promise.catch(() => {});
    removal.isClosing = true;
    this.#refuse(id);
    try {
      await device.close();
      removable.delete(id);
      done.resolve();
    } catch (error) {
      removable.delete(id);
      if (!removal.isWaitedFor) host.logger.error(`${id}: ${errorText(error)}`);
      done.reject(error);
    }
  }

  /** The host may ask nothing more of a device. */
  #refuse(id: string): void {
    const { disks, nets } = this.#assembly.machine.controls;
    disks.delete(id);
    nets.delete(id);
  }

  #requireMachine(): void {
    if (this.#assembly.machine.state === 'stopped') throw ended();
  }
}

function ended(): TsvmError {
  return new TsvmError('wrong-state', 'the machine has ended');
}

function notReleased(id: string, timeoutMs: number): TsvmError {
  return new TsvmError(
    'wrong-state',
    `the guest has not let go of ${id} within ${timeoutMs / 1000} s: it is removed once the guest ` +
      'does; to take it away now, as by pulling it out, use --force',
  );
}
