import type { RegisterHandler } from '../../bus/register-bank.ts';
import {
  MMIO_BANK,
  MMIO_INTERRUPT_STATUS_WORD,
  MmioTransport,
  readPlaceholder,
} from '../../devices/virtio/transport/mmio.ts';
import { MmioRegister } from '../../devices/virtio/transport/mmio-registers.ts';
import { KvmRegisterBank } from '../../kvm/register-bank.ts';
import type { KvmInterruptLine } from '../../kvm/vm.ts';
import { RateLimit } from '../../observability/rate-limit.ts';
import type { Assembly, CreateDevice, VirtioWindow } from '../assembly.ts';
import type { DeviceOwner } from '../device-scope.ts';
import type { MmioPlacement } from '../placement.ts';

/** QueueNotify is written 32 bits wide. */
const NOTIFY_BYTES = 4;

/** A window of virtio-mmio registers, and the device in it, if there is one. */
export class MmioWindow implements RegisterHandler, VirtioWindow {
  readonly #assembly: Assembly;
  readonly #notifyGpa: number;
  readonly #bank = new KvmRegisterBank(MMIO_BANK);
  readonly #interrupt: KvmInterruptLine;
  /** By queue. KVM's events last as long as the machine. */
  readonly #kicks: KvmInterruptLine['event'][] = [];
  #boundKicks = 0;
  #transport: MmioTransport | undefined;

  constructor(assembly: Assembly, { gpa, gsi }: MmioPlacement) {
    this.#assembly = assembly;
    this.#notifyGpa = gpa + MmioRegister.QueueNotify;
    this.#interrupt = assembly.vm.interruptLine(gsi);
    assembly.attach('mmio', gpa, this.#bank, this);
  }

  plug(queueCount: number, createDevice: CreateDevice, owner: DeviceOwner): void {
    const { host, machine, memory } = this.#assembly;
    const bank = this.#bank;
    this.#bindKicks(queueCount);
    owner.own(() => this.#empty());
    const device = createDevice({
      memory,
      kicks: this.#kicks.slice(0, queueCount),
      interrupts: [this.#interrupt],
      interruptStatus: { bank, word: MMIO_INTERRUPT_STATUS_WORD },
      contain: (action) => machine.contain(action),
    });
    const guestErrors = new RateLimit();
    this.#transport = new MmioTransport({
      device,
      bank,
      interrupt: this.#interrupt,
      onGuestError: (reason) => guestErrors.log(host.logger.warn, reason),
    });
    owner.addDevice(this.#transport);
  }

  read(offset: number, width: number): number {
    return this.#transport?.read(offset, width) ?? readPlaceholder(offset, width);
  }

  write(offset: number, width: number, value: number): void | Promise<void> {
    return this.#transport?.write(offset, width, value);
  }

  #bindKicks(queueCount: number): void {
    const { vm } = this.#assembly;
    for (let queue = 0; queue < queueCount; queue++) {
      const kick = this.#kicks[queue];
      if (kick === undefined) {
        this.#kicks.push(vm.kickEvent(this.#notifyGpa, NOTIFY_BYTES, queue));
      } else {
        vm.bindKick(kick, this.#notifyGpa, NOTIFY_BYTES, queue);
      }
      this.#boundKicks = queue + 1;
    }
  }

  #empty(): void {
    this.#transport = undefined;
    // A machine that is closed takes all of it along.
    if (this.#assembly.machine.state === 'stopped') return;
    for (const [queue, kick] of this.#kicks.slice(0, this.#boundKicks).entries()) {
      this.#assembly.vm.unbindKick(kick, this.#notifyGpa, NOTIFY_BYTES, queue);
    }
    this.#boundKicks = 0;
  }
}
