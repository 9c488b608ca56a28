import type { ConsoleBackend } from './assembly.ts';
import { OutputRing } from './output-ring.ts';

/** How much of the output can be replayed. */
const REPLAY_BYTES = 256 * 1024;
/** Bytes handed to a viewer at a time. */
const CHUNK_BYTES = 16 * 1024;

/** Who gets a console's input: a console that has the input keeps it until another takes it. */
export type InputWish =
  /** The input, unless another console has it. */
  | 'if-free'
  /** The input, even if another console has it. */
  | 'take'
  | 'none';

/** What a viewer of the console is told. Never throws. */
export interface ConsoleViewer {
  /** Takes all of `bytes`. False asks for no more before {@link ConsoleAttachment.resumeOutput}. */
  write(bytes: Uint8Array): boolean;
  /** Input is welcome again, after {@link ConsoleAttachment.input} answered false. Others are told too. */
  resumeInput(): void;
  /** The console has ended; all output was written. */
  end(): void;
}

/** A viewer that is attached to the console. */
export interface ConsoleAttachment {
  /** Whether this one has the input now. */
  readonly hasInput: boolean;
  /** Passes input on, or drops it when another console has the input. False asks to pause. */
  input(bytes: Uint8Array): boolean;
  resumeOutput(): void;
  /** Leaves the console. Idempotent. */
  detach(): void;
}

/** Which kind of input the local console has. */
export type LocalInput =
  /** A person types. While another console has the input, what they type is dropped. */
  | 'terminal'
  /** A pipe or a file. While another console has the input, it waits. */
  | 'stream'
  | 'none';

/**
 * The end of a machine's serial console that the local console and any number of viewers share. The
 * output goes to all of them. The local console alone sets the pace of the guest: a viewer that does
 * not keep up misses output, and is told so. One of them has the input.
 */
export class ConsoleHub implements ConsoleBackend {
  readonly #local: ConsoleBackend;
  readonly #localInput: LocalInput;
  readonly #ring = new OutputRing(REPLAY_BYTES);
  readonly #viewers = new Set<Viewer>();
  #receive: ((bytes: Uint8Array) => boolean) | undefined;
  #writer: Viewer | 'local' | undefined;
  /** Input of the local stream that waits. */
  #held: Uint8Array[] = [];
  /** More input may come from the local console. */
  #localOpen: boolean;
  #ended = false;

  constructor(local: ConsoleBackend, localInput: LocalInput) {
    this.#local = local;
    this.#localInput = localInput;
    this.#localOpen = localInput !== 'none';
    if (this.#localOpen) this.#writer = 'local';
  }

  get viewerCount(): number {
    return this.#viewers.size;
  }

  /** Who has the input. */
  get writer(): 'local' | 'attached' | 'nobody' {
    if (this.#writer === undefined) return 'nobody';
    return this.#writer === 'local' ? 'local' : 'attached';
  }

  write(bytes: Uint8Array): boolean {
    this.#ring.write(bytes);
    for (const viewer of this.#viewers) viewer.pump();
    return this.#local.write(bytes);
  }

  onceDrained(): Promise<void> {
    return this.#local.onceDrained();
  }

  startInput(receive: (bytes: Uint8Array) => boolean): void {
    this.#receive = receive;
    this.#local.startInput(
      (bytes) => this.#fromLocal(bytes),
      () => this.#localEnded(),
    );
  }

  resumeInput(): void {
    if (this.#writer === 'local') this.#local.resumeInput();
    else this.#writer?.sink.resumeInput();
  }

  /**
   * Attaches a viewer, whose output begins with {@link ConsoleAttachment.resumeOutput}.
   * @param replayBytes how much of the latest output to repeat, as far as it was kept
   */
  attach(sink: ConsoleViewer, wish: InputWish, replayBytes: number): ConsoleAttachment {
    const { start, end } = this.#ring;
    const viewer = new Viewer(sink, this.#ring, Math.max(start, end - replayBytes));
    if (!this.#ended) {
      this.#viewers.add(viewer);
      const isFree = this.#writer === undefined;
      if (wish === 'take' || (wish === 'if-free' && isFree)) this.#giveInput(viewer);
    }
    const hub = this;
    return {
      get hasInput() {
        return hub.#writer === viewer;
      },
      input: (bytes) => hub.#writer !== viewer || hub.#pass(bytes),
      resumeOutput: () => (hub.#ended ? viewer.finish() : viewer.resume()),
      detach: () => hub.#detach(viewer),
    };
  }

  /** The machine has ended for good: viewers get the rest of the output, and leave. */
  end(): void {
    this.#ended = true;
    for (const viewer of this.#viewers) viewer.finish();
    this.#viewers.clear();
  }

  #pass(bytes: Uint8Array): boolean {
    return this.#receive?.(bytes) ?? true;
  }

  #fromLocal(bytes: Uint8Array): boolean {
    if (this.#writer === 'local') return this.#pass(bytes);
    if (this.#localInput === 'stream') this.#held.push(bytes);
    else this.#tellLocal('another console has the input');
    return this.#localInput === 'terminal';
  }

  #localEnded(): void {
    this.#localOpen = false;
    if (this.#writer === 'local') this.#writer = undefined;
  }

  #giveInput(viewer: Viewer): void {
    const before = this.#writer;
    this.#writer = viewer;
    const message = 'another console has taken the input';
    if (before === 'local' && this.#localInput === 'terminal') this.#tellLocal(message);
    else if (before instanceof Viewer) before.tell(message);
  }

  #detach(viewer: Viewer): void {
    if (!this.#viewers.delete(viewer) || this.#writer !== viewer) return;
    this.#writer = undefined;
    if (this.#localOpen) this.#writer = 'local';
    if (this.#localInput === 'terminal') this.#tellLocal('this console has the input again');
    for (const bytes of this.#held.splice(0)) this.#pass(bytes);
    this.#local.resumeInput();
  }

  #tellLocal(message: string): void {
    this.#local.write(notice(message));
  }
}

/** A message from us amid the guest's output. */
function notice(message: string): Uint8Array {
  return Buffer.from(`\r\n[tsvm: ${message}]\r\n`);
}

class Viewer {
  readonly sink: ConsoleViewer;
  readonly #ring: OutputRing;
  #position: number;
  #hasRoom = false;
  #finished = false;

  constructor(sink: ConsoleViewer, ring: OutputRing, position: number) {
    this.sink = sink;
    this.#ring = ring;
    this.#position = position;
  }

  /** Writes what is new while the sink takes it. */
  pump(): void {
    while (this.#hasRoom && this.#position < this.#ring.end) {
      const lostBytes = this.#ring.start - this.#position;
      if (lostBytes > 0) {
        this.#position = this.#ring.start;
        this.tell(`${lostBytes} bytes of output were lost here`);
      }
      const bytes = this.#ring.read(this.#position, CHUNK_BYTES);
      this.#position += bytes.length;
      this.#hasRoom = this.sink.write(bytes);
    }
  }

  resume(): void {
    this.#hasRoom = true;
    this.pump();
  }

  tell(message: string): void {
    this.#hasRoom = this.sink.write(notice(message)) && this.#hasRoom;
  }

  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    while (this.#position < this.#ring.end) this.resume();
    this.sink.end();
  }
}
