/** MSI-X: PCI 3.0, section 6.8.2. */
import type { StateReader, StateValue } from '../device-state.ts';
import type { PciConfigSpace } from './config-space.ts';

const CAPABILITY_MSIX = 0x11;
/** Message Control follows the identifier and the link. */
const CONTROL_OFFSET = 2;
const CONTROL_ENABLE = 1 << 15;
const CONTROL_FUNCTION_MASK = 1 << 14;

const ENTRY_BYTES = 16;
const ENTRY_WORDS = 4;
const WORD_ADDRESS_LOW = 0;
const WORD_ADDRESS_HIGH = 1;
const WORD_DATA = 2;
const WORD_CONTROL = 3;
const ENTRY_MASKED = 1;

/** Where a vector's message goes. */
export interface MessageTarget {
  /** What each interrupt sends from now on; undefined: nothing. */
  setMessage(message: { readonly address: number; readonly data: number } | undefined): void;
  /** Sends the message. */
  pulse(): void;
}

/** Where the table and the pending bits are in BAR 0. Both are multiples of 8. */
export interface MsixPlace {
  readonly tableOffset: number;
  readonly pendingOffset: number;
}

export interface MsixOptions {
  readonly config: PciConfigSpace;
  readonly targets: readonly MessageTarget[];
  readonly place: MsixPlace;
  /**
   * Whether others than {@link Msix.pulse} may have sent a vector's message while it was masked. At the
   * end of the mask it is then sent once more: drivers of virtio look for used buffers and find none.
   */
  readonly mayHaveMissed: (vector: number) => boolean;
}

/** The vectors of a function. The pending bits read 0. */
export class Msix {
  readonly #config: PciConfigSpace;
  readonly #capability: number;
  readonly #targets: readonly MessageTarget[];
  readonly #table: Uint32Array;
  /** What each target was told, to tell it only of changes, which cost milliseconds. */
  readonly #routed: ({ readonly address: number; readonly data: number } | undefined)[];

  /** Vectors that were pulsed while they were masked. */
  readonly #pending = new Set<number>();
  readonly #mayHaveMissed: (vector: number) => boolean;

  constructor({ config, targets, place, mayHaveMissed }: MsixOptions) {
    this.#mayHaveMissed = mayHaveMissed;
    this.#config = config;
    this.#targets = targets;
    this.#table = new Uint32Array(ENTRY_WORDS * targets.length);
    this.#routed = targets.map(() => undefined);
    this.#maskAll();
    const content = Buffer.alloc(10);
    content.writeUInt16LE(targets.length - 1, 0);
    // The low three bits are the number of the BAR.
    content.writeUInt32LE(place.tableOffset, 2);
    content.writeUInt32LE(place.pendingOffset, 6);
    const writable = Buffer.alloc(10);
    writable.writeUInt16LE(CONTROL_ENABLE | CONTROL_FUNCTION_MASK, 0);
    this.#capability = config.addCapability(CAPABILITY_MSIX, content, writable);
  }

  get vectorCount(): number {
    return this.#targets.length;
  }

  get tableBytes(): number {
    return ENTRY_BYTES * this.#targets.length;
  }

  /** Whether a write to the configuration space concerns the vectors. */
  hasControl(offset: number, width: number): boolean {
    const control = this.#capability + CONTROL_OFFSET;
    return offset < control + 2 && offset + width > control;
  }

  /** Sends the message of a vector, once it is not masked. A bad number sends nothing. */
  pulse(vector: number): void {
    if (this.#routed[vector] === undefined) this.#pending.add(vector);
    else this.#targets[vector]?.pulse();
  }

  /** @param offset in the table, aligned */
  readTable(offset: number, width: number): number {
    return width === 4 ? (this.#table[offset / 4] ?? 0) : 0;
  }

  writeTable(offset: number, width: number, value: number): void {
    const index = offset / 4;
    if (width !== 4 || index >= this.#table.length) return;
    this.#table[index] = index % ENTRY_WORDS === WORD_CONTROL ? value & ENTRY_MASKED : value;
    this.#route(Math.floor(index / ENTRY_WORDS));
  }

  /** Brings all targets up to date with the table and the control register. */
  update(): void {
    for (const vector of this.#targets.keys()) this.#route(vector);
  }

  save(): StateValue {
    const pending = this.#targets.map((_, vector) => ({ pending: this.#pending.has(vector) }));
    return { table: new Uint8Array(this.#table.buffer).slice(), pending };
  }

  /** The configuration space is loaded before. */
  load(state: StateReader): void {
    const bytes = state.bytes('table', this.#table.byteLength, this.#table.byteLength);
    new Uint8Array(this.#table.buffer).set(bytes);
    for (const [vector, each] of state.list('pending', this.#targets.length).entries()) {
      if (each.boolean('pending')) this.#pending.add(vector);
    }
    this.update();
  }

  #maskAll(): void {
    this.#table.fill(0);
    for (const vector of this.#targets.keys()) {
      this.#table[ENTRY_WORDS * vector + WORD_CONTROL] = ENTRY_MASKED;
    }
  }

  #word(vector: number, word: number): number {
    return this.#table[ENTRY_WORDS * vector + word] ?? 0;
  }

  #isMasked(vector: number): boolean {
    const control = this.#config.get16(this.#capability + CONTROL_OFFSET);
    return (
      (control & (CONTROL_ENABLE | CONTROL_FUNCTION_MASK)) !== CONTROL_ENABLE ||
      (this.#word(vector, WORD_CONTROL) & ENTRY_MASKED) !== 0
    );
  }

  #route(vector: number): void {
    const target = this.#targets[vector];
    if (target === undefined) return;
    const was = this.#routed[vector];
    const message = this.#message(vector);
    if (message?.address === was?.address && message?.data === was?.data) return;
    this.#routed[vector] = message;
    target.setMessage(message);
    if (message === undefined || was !== undefined) return;
    const isPending = this.#pending.delete(vector);
    if (isPending || this.#mayHaveMissed(vector)) target.pulse();
  }

  /** What the vector's interrupt sends; undefined while it is masked, or for an impossible address. */
  #message(vector: number): { readonly address: number; readonly data: number } | undefined {
    const high = this.#word(vector, WORD_ADDRESS_HIGH);
    const address = high * 2 ** 32 + this.#word(vector, WORD_ADDRESS_LOW);
    if (this.#isMasked(vector) || !Number.isSafeInteger(address)) return undefined;
    return { address, data: this.#word(vector, WORD_DATA) };
  }
}
