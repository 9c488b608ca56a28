/** A virtual machine without KVM: the test plays the vCPU threads. */
import { ExitSlot } from '../../vmm/kvm/exit-slots.ts';
import type { MachineVm } from '../../vmm/machine/machine.ts';

/** `struct tsvm_exit_slot` of kvm-addon/include/tsvm/exit_slot_abi.h. */
const SLOT_WORDS = 16;
const IDLE = 0;
const PENDING = 1;
const KINDS = { read: 1, write: 2, shutdown: 3, failed: 4, debug: 5 } as const;

type Phase = 'parked' | 'running' | 'waiting' | 'ended';

export interface Access {
  readonly bank: number;
  readonly offset: number;
  readonly width?: number;
  readonly value?: number;
}

export class FakeVm implements MachineVm {
  readonly slots: readonly ExitSlot[];
  /** The machine's requests, in order. */
  readonly calls: string[] = [];
  /** Name of a function that throws. */
  failing: string | undefined;
  /** Called when the native VM would call `onWake`. */
  wake = () => {};
  readonly #words: Uint32Array;
  readonly #phases: Phase[];
  #order: 'park' | 'run' | 'stop' = 'park';

  constructor(cpus = 1) {
    const slots = new ArrayBuffer(cpus * SLOT_WORDS * 4);
    this.#words = new Uint32Array(slots);
    this.slots = Array.from({ length: cpus }, (_, cpu) => new ExitSlot(slots, cpu));
    this.#phases = new Array<Phase>(cpus).fill('parked');
  }

  get parked(): boolean {
    return (
      this.#order !== 'run' &&
      this.#phases.every((phase) => phase === 'parked' || phase === 'ended')
    );
  }

  start(): void {
    this.#called('start');
    this.#order = 'run';
    this.#phases.fill('running');
  }

  /** vCPUs park when the test calls {@link park}. */
  pause(): void {
    this.#called('pause');
    this.#order = 'park';
  }

  /** As {@link pause}, for a debugger. */
  hold(): void {
    this.#called('hold');
    this.#order = 'park';
  }

  resume(): void {
    this.#called('resume');
    this.#order = 'run';
    this.#phases.forEach((phase, cpu) => {
      if (phase === 'parked') this.#phases[cpu] = 'running';
    });
  }

  stop(): void {
    this.#called('stop');
    this.#order = 'stop';
    this.#phases.fill('ended');
    setImmediate(() => this.wake());
  }

  completeExit(slot: ExitSlot): void {
    this.#called(`complete ${slot.cpu}`);
    this.#words[slot.cpu * SLOT_WORDS] = IDLE;
    if (this.#phases[slot.cpu] === 'waiting') this.#phases[slot.cpu] = 'running';
  }

  failureText(cpu: number): string {
    return `vCPU ${cpu} cannot go on`;
  }

  statistics(): Record<string, number> {
    return { exits: 7 };
  }

  close(): void {
    this.#called('close');
  }

  /** A running vCPU parks as requested. */
  park(cpu = 0): void {
    this.#phases[cpu] = 'parked';
    this.wake();
  }

  /** A vCPU begins a slow exit. Its wake comes a little later, unless the test triggers it. */
  access(kind: 'read' | 'write', { bank, offset, width = 1, value = 0 }: Access, cpu = 0): void {
    this.#leave(cpu, kind, 'waiting');
    this.#words.set([bank, offset, width, 0, value], cpu * SLOT_WORDS + 2);
  }

  /** A vCPU ends by itself. */
  end(kind: 'shutdown' | 'failed', cpu = 0): void {
    this.#leave(cpu, kind, 'ended');
  }

  /** The answer to the last read of a vCPU. */
  answer(cpu = 0): number {
    return this.#words[cpu * SLOT_WORDS + 6] ?? 0;
  }

  /** True when a vCPU is in a slow exit. */
  waits(cpu = 0): boolean {
    return this.#phases[cpu] === 'waiting';
  }

  #leave(cpu: number, kind: keyof typeof KINDS, phase: Phase): void {
    this.#phases[cpu] = phase;
    this.#words[cpu * SLOT_WORDS + 1] = KINDS[kind];
    this.#words[cpu * SLOT_WORDS] = PENDING;
  }

  #called(name: string): void {
    this.calls.push(name);
    if (this.failing === name) throw new Error(`${name} on purpose`);
  }
}
