import type { ConsoleOutput } from '../../console-output.ts';
import type { StateReader, StateValue } from '../../device-state.ts';

/** The host's side of a port. */
export interface PortHost extends ConsoleOutput {
  /** There is room for input again, after {@link ConsolePort.hasRoom} was false. */
  resumeInput(): void;
}

/** Input beyond this asks the host to pause. */
const INPUT_MAX_BYTES = 64 * 1024;
/** Of a saved state: a host may add one chunk of any size to a full buffer. */
const SAVED_INPUT_MAX_BYTES = 16 * 2 ** 20;

/** A port: its input that waits for the guest, and who has it open. */
export class ConsolePort {
  /** Undefined for the console. */
  readonly name: string | undefined;
  readonly host: PortHost;
  /** The guest's driver uses the port. */
  ready = false;
  /** A program of the guest has the port open. */
  guestOpen = false;
  /** The host has the port open. */
  hostOpen: boolean;
  /** The host takes no output now. */
  blocked = false;
  #input: Uint8Array[] = [];
  #inputBytes = 0;
  /** The host was asked to pause. */
  #isFull = false;

  constructor(name: string | undefined, host: PortHost) {
    this.name = name;
    this.host = host;
    this.hostOpen = name === undefined;
  }

  get inputBytes(): number {
    return this.#inputBytes;
  }

  /** False when the host is to pause until {@link PortHost.resumeInput}. */
  get hasRoom(): boolean {
    return !this.#isFull;
  }

  /** Takes input of the host. */
  receive(bytes: Uint8Array): void {
    if (bytes.byteLength > 0) this.#input.push(bytes);
    this.#inputBytes += bytes.byteLength;
    this.#isFull = this.#inputBytes >= INPUT_MAX_BYTES;
  }

  /** Removes and returns up to `maxBytes` of input, oldest first. */
  takeInput(maxBytes: number): Uint8Array {
    const taken: Uint8Array[] = [];
    let room = maxBytes;
    for (let first = this.#input[0]; first !== undefined && room > 0; first = this.#input[0]) {
      const part = first.subarray(0, room);
      taken.push(part);
      room -= part.byteLength;
      if (part.byteLength === first.byteLength) this.#input.shift();
      else this.#input[0] = first.subarray(part.byteLength);
    }
    const bytes = Buffer.concat(taken);
    this.#inputBytes -= bytes.byteLength;
    return bytes;
  }

  /** Tells the host if there is room for input again. It may send more before this returns. */
  announceRoom(): void {
    if (!this.#isFull || this.#inputBytes >= INPUT_MAX_BYTES) return;
    this.#isFull = false;
    this.host.resumeInput();
  }

  dropInput(): void {
    this.takeInput(this.#inputBytes);
    this.announceRoom();
  }

  /** The driver has gone. */
  reset(): void {
    this.ready = false;
    this.guestOpen = false;
    if (this.name !== undefined) this.dropInput();
  }

  save(): StateValue {
    const { ready, guestOpen } = this;
    return { ready, guestOpen, input: Buffer.concat(this.#input) };
  }

  load(state: StateReader): void {
    this.ready = state.boolean('ready');
    this.guestOpen = state.boolean('guestOpen');
    this.receive(state.bytes('input', SAVED_INPUT_MAX_BYTES));
  }
}
