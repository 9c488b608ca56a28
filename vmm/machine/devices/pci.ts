import {
  PCI_CONFIG_PORTS,
  PCI_ECAM_GPA,
  PCI_WINDOW_GPA,
  PCI_WINDOW_SIZE,
} from '../../arch/x86_64/layout.ts';
import { CONFIG_PORTS_BANK, ECAM_BANK, PciRootBus } from '../../devices/pci/root-bus.ts';
import { PciTransport } from '../../devices/virtio/transport/pci.ts';
import {
  NOTIFY_MULTIPLIER,
  NOTIFY_OFFSET,
  NOTIFY_WRITE_BYTES,
} from '../../devices/virtio/transport/pci-registers.ts';
import { KvmRegisterBank } from '../../kvm/register-bank.ts';
import { RateLimit } from '../../observability/rate-limit.ts';
import type { Assembly, CreateDevice, PciBus } from '../assembly.ts';
import type { PciPlacement } from '../placement.ts';

/** Attaches virtio devices: each gets a slot, a kick per queue, and a message per queue and one more. */
class VirtioPciBus implements PciBus {
  readonly #assembly: Assembly;
  readonly #root: PciRootBus;

  constructor(assembly: Assembly, root: PciRootBus) {
    this.#assembly = assembly;
    this.#root = root;
  }

  attach({ slot, barGpa }: PciPlacement, queueCount: number, createDevice: CreateDevice): void {
    const { machine, vm, memory, host } = this.#assembly;
    const notifyGpa = (queue: number) => barGpa + NOTIFY_OFFSET + NOTIFY_MULTIPLIER * queue;
    const kicks = Array.from({ length: queueCount }, (_, queue) =>
      vm.kickEvent(notifyGpa(queue), NOTIFY_WRITE_BYTES, queue),
    );
    const messages = Array.from({ length: queueCount + 1 }, () => vm.messageInterrupt());
    const device = createDevice({
      memory,
      kicks,
      interrupts: messages,
      contain: (action) => machine.contain(action),
    });
    const guestErrors = new RateLimit();
    const transport = new PciTransport({
      device,
      messages,
      kick: (queue) => kicks[queue]?.signal(),
      barGpa,
      onGuestError: (reason) => guestErrors.log(host.logger.warn, reason),
    });
    this.#root.attach(slot, transport);
    machine.addDevice(transport);
  }
}

export function attachPciBus(assembly: Assembly): void {
  const root = new PciRootBus(PCI_WINDOW_GPA);
  const window = { lengthBytes: PCI_WINDOW_SIZE, wordCount: 1 };
  const { portsHandler, ecamHandler, windowHandler } = root;
  assembly.attach('pio', PCI_CONFIG_PORTS, new KvmRegisterBank(CONFIG_PORTS_BANK), portsHandler);
  assembly.attach('mmio', PCI_ECAM_GPA, new KvmRegisterBank(ECAM_BANK), ecamHandler);
  assembly.attach('mmio', PCI_WINDOW_GPA, new KvmRegisterBank(window), windowHandler);
  assembly.machine.addDevice(root);
  assembly.pciBus = new VirtioPciBus(assembly, root);
}
