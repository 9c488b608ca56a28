import {
  PCI_CONFIG_PORTS,
  PCI_ECAM_GPA,
  PCI_WINDOW_GPA,
  PCI_WINDOW_SIZE,
} from '../../arch/x86_64/layout.ts';
import { CONFIG_PORTS_BANK, ECAM_BANK, PciRootBus } from '../../devices/pci/root-bus.ts';
import { PciTransport } from '../../devices/virtio/transport/pci.ts';
import {
  BAR_BYTES,
  NOTIFY_MULTIPLIER,
  NOTIFY_OFFSET,
  NOTIFY_WRITE_BYTES,
} from '../../devices/virtio/transport/pci-registers.ts';
import { isNativeError } from '../../kvm/kvm-error.ts';
import { KvmRegisterBank } from '../../kvm/register-bank.ts';
import type { KvmInterruptLine, KvmMessageInterrupt } from '../../kvm/vm.ts';
import { RateLimit } from '../../observability/rate-limit.ts';
import type { Assembly, CreateDevice, PciBus } from '../assembly.ts';
import type { DeviceOwner } from '../device-scope.ts';
import type { PciPlacement } from '../placement.ts';
import { attachHotplug } from './hotplug.ts';

/** An ioeventfd of a queue, and its address; undefined while it is nowhere. */
interface Kick {
  readonly event: KvmInterruptLine['event'];
  gpa: number | undefined;
}

/** Attaches virtio devices: each gets a slot, a kick per queue, and a message per queue and one more. */
class VirtioPciBus implements PciBus {
  readonly #assembly: Assembly;
  readonly #root: PciRootBus;
  /** Of removed devices. KVM's interrupts and the events of a machine last as long as it does. */
  readonly #freeKicks: Kick[] = [];
  readonly #freeMessages: KvmMessageInterrupt[] = [];

  constructor(assembly: Assembly, root: PciRootBus) {
    this.#assembly = assembly;
    this.#root = root;
  }

  attach(
    { slot, barGpa }: PciPlacement,
    queueCount: number,
    createDevice: CreateDevice,
    owner: DeviceOwner,
  ): void {
    const { machine, vm, memory, host } = this.#assembly;
    const kicks = Array.from({ length: queueCount }, (_, queue) => this.#newKick(barGpa, queue));
    const messages = Array.from(
      { length: queueCount + 1 },
      () => this.#freeMessages.pop() ?? vm.messageInterrupt(),
    );
    owner.own(() => this.#reclaim(kicks, messages));
    const device = createDevice({
      memory,
      kicks: kicks.map(({ event }) => event),
      interrupts: messages,
      contain: (action) => machine.contain(action),
    });
    const guestErrors = new RateLimit();
    const transport = new PciTransport({
      device,
      messages,
      placeKicks: (bar) => this.#placeKicks(kicks, bar),
      kick: (queue) => kicks[queue]?.event.signal(),
      barGpa,
      onGuestError: (reason) => guestErrors.log(host.logger.warn, reason),
    });
    owner.addDevice(transport);
    this.#root.attach(slot, transport);
  }

  detach({ slot }: PciPlacement): void {
    this.#root.detach(slot);
  }

  pullOut({ slot }: PciPlacement): void {
    this.#root.pullOut(slot);
  }

  #newKick(barGpa: number, queue: number): Kick {
    const { vm } = this.#assembly;
    const gpa = kickGpa(barGpa, queue);
    const kick = this.#freeKicks.pop();
    if (kick === undefined) return { event: vm.kickEvent(gpa, NOTIFY_WRITE_BYTES, queue), gpa };
    // Not placed until its driver is ready.
    return kick;
  }

  /** Has the kicks where the driver writes them, unless another device has its own there. */
  #placeKicks(kicks: readonly Kick[], barGpa: number | undefined): void {
    const { vm } = this.#assembly;
    const isInWindow =
      barGpa !== undefined &&
      barGpa >= PCI_WINDOW_GPA &&
      barGpa + BAR_BYTES <= PCI_WINDOW_GPA + PCI_WINDOW_SIZE;
    for (const [queue, kick] of kicks.entries()) {
      const gpa = isInWindow ? kickGpa(barGpa, queue) : undefined;
      if (gpa === kick.gpa) continue;
      if (kick.gpa !== undefined) this.#unplace(kick, queue);
      if (gpa === undefined) continue;
      try {
        vm.bindKick(kick.event, gpa, NOTIFY_WRITE_BYTES, queue);
        kick.gpa = gpa;
      } catch (error) {
        // The guest has put two devices at one address: the kicks come by the slow path.
        if (!isTaken(error)) throw error;
      }
    }
  }

  #unplace(kick: Kick, queue: number): void {
    if (kick.gpa === undefined) return;
    this.#assembly.vm.unbindKick(kick.event, kick.gpa, NOTIFY_WRITE_BYTES, queue);
    kick.gpa = undefined;
  }

  /** The device is closed. */
  #reclaim(kicks: readonly Kick[], messages: readonly KvmMessageInterrupt[]): void {
    // A machine that is closed takes all of it along.
    if (this.#assembly.machine.state === 'stopped') return;
    for (const [queue, kick] of kicks.entries()) this.#unplace(kick, queue);
    this.#freeKicks.push(...kicks);
    this.#freeMessages.push(...messages);
  }
}

function kickGpa(barGpa: number, queue: number): number {
  return barGpa + NOTIFY_OFFSET + NOTIFY_MULTIPLIER * queue;
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && isNativeError(error.cause) && error.cause.code === 'EEXIST';
}

export function attachPciBus(assembly: Assembly): void {
  const portsBank = new KvmRegisterBank(CONFIG_PORTS_BANK);
  const root = new PciRootBus(PCI_WINDOW_GPA, portsBank);
  const window = { lengthBytes: PCI_WINDOW_SIZE, wordCount: 1 };
  const { portsHandler, ecamHandler, windowHandler } = root;
  assembly.attach('pio', PCI_CONFIG_PORTS, portsBank, portsHandler);
  assembly.attach('mmio', PCI_ECAM_GPA, new KvmRegisterBank(ECAM_BANK), ecamHandler);
  assembly.attach('mmio', PCI_WINDOW_GPA, new KvmRegisterBank(window), windowHandler);
  assembly.machine.addDevice(root);
  const bus = new VirtioPciBus(assembly, root);
  assembly.pciBus = bus;
  // Guests learn of it by ACPI.
  if (assembly.config.acpi) attachHotplug(assembly, bus);
}
