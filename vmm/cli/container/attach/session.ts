/** The client's side of a container's or an exec's streams: this process's terminal or pipes. */
import type { Duplex } from 'node:stream';
import { FrameReader, FrameWriter } from '../../../container/containers/stream-frames.ts';
import { TsvmError } from '../../../errors.ts';
import { endConnection } from '../../end-connection.ts';
import { isTerminal } from '../../output-descriptor.ts';
import { RawTerminal } from '../../raw-terminal.ts';
import { standardInput } from '../../standard-input.ts';
import { onWindowSize } from '../../window-size.ts';
import type { CaughtSignals } from './caught-signals.ts';
import { DEFAULT_DETACH_KEYS, DetachKeys, parseDetachKeys } from './detach-keys.ts';
import { openSessionOutput, type SessionOutput } from './session-output.ts';

export interface SessionOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** The process has a terminal. */
  readonly tty: boolean;
  readonly detachKeys: string | undefined;
  /** Signals of this process that go to the container's; undefined: they have their usual effect. */
  readonly signals?: CaughtSignals | undefined;
  /** Called when the process runs. */
  readonly onStarted?: () => void;
}

/** How a session has ended. */
export type SessionEnd =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'failed'; readonly exitCode: number; readonly message: string }
  | { readonly kind: 'detached' }
  /** The other side is gone without a word. */
  | { readonly kind: 'lost' };

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
/** As by SIGPIPE. */
const EXIT_PIPE = 141;

/** @throws TsvmError as Docker's client: a terminal is asked for, and input comes from elsewhere */
export function checkTerminal({ stdin, tty }: Pick<SessionOptions, 'stdin' | 'tty'>): void {
  if (!stdin || !tty || isTerminal(STDIN)) return;
  throw new TsvmError('invalid-config', 'the input device is not a TTY');
}

/** The size of this process's terminal; undefined when it has none. */
export function ownTerminalSize(): { columns: number; rows: number } | undefined {
  if (!isTerminal(STDOUT)) return undefined;
  const { columns, rows } = process.stdout;
  return columns > 0 && rows > 0 ? { columns, rows } : undefined;
}

export class Session {
  readonly #socket: Duplex;
  readonly #frames: FrameWriter;
  readonly #options: SessionOptions;
  readonly #end = Promise.withResolvers<SessionEnd>();
  readonly #outputs: Partial<Record<'stdout' | 'stderr', SessionOutput>> = {};
  readonly #keys: DetachKeys;
  #outcome: SessionEnd = { kind: 'lost' };
  #terminal: RawTerminal | undefined;

  /** @throws TsvmError `invalid-config` for invalid keys */
  constructor(socket: Duplex, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#frames = new FrameWriter(socket);
    const keys = parseDetachKeys(options.detachKeys ?? DEFAULT_DETACH_KEYS);
    this.#keys = new DetachKeys(options.tty ? keys : new Uint8Array(), () => this.detach());
    // As Docker's client, which SIGPIPE ends; the process goes on.
    const closed = () => this.#end.resolve({ kind: 'exited', exitCode: EXIT_PIPE });
    if (options.stdout) this.#outputs.stdout = openSessionOutput(STDOUT, closed);
    if (options.stderr) this.#outputs.stderr = openSessionOutput(STDERR, closed);
    socket.on('error', () => {});
    socket.once('close', () => this.#end.resolve(this.#outcome));
    socket.once('end', () => this.#end.resolve(this.#outcome));
    if (socket.destroyed) this.#end.resolve(this.#outcome);
  }

  send(message: object): void {
    this.#frames.sendMessage(message);
  }

  /** Leaves the process running. */
  detach(): void {
    this.#end.resolve({ kind: 'detached' });
  }

  /** Connects terminal, pipes and signals, and waits for the end. */
  async run(): Promise<SessionEnd> {
    const { signals, stdin, tty } = this.#options;
    process.once('exit', () => this.#terminal?.restore());
    signals?.forward((signal) => {
      // The size of the window is told otherwise.
      if (signal !== 'SIGWINCH' || !tty) this.send({ type: 'signal', signal });
    });
    try {
      if (stdin && tty && isTerminal(STDIN)) {
        const terminal = await RawTerminal.open(STDIN);
        this.#terminal = terminal;
      }
      if (tty && isTerminal(STDOUT)) {
        onWindowSize((columns, rows) => this.send({ type: 'resize', columns, rows }));
      }
      this.#readFrames();
      if (stdin) this.#passInput();
      const end = await this.#end.promise;
      for (const output of Object.values(this.#outputs)) await output.drained();
      return end;
    } finally {
      this.#terminal?.restore();
      if (stdin) {
        standardInput().pause();
        await endConnection(this.#socket);
      }
      this.#socket.destroy();
    }
  }

  /** Called once the terminal is raw: whoever sees output may type at once. */
  #readFrames(): void {
    const reader = new FrameReader({
      data: (kind, bytes) => kind !== 'stdin' && this.#write(kind, bytes),
      message: (message) => this.#take(message),
    });
    this.#socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch {
        this.#socket.destroy();
      }
    });
  }

  #passInput(): void {
    const stdin = standardInput();
    stdin.on('data', (chunk: Buffer) => {
      const bytes = this.#keys.filter(chunk);
      if (bytes.byteLength === 0 || this.#frames.send('stdin', bytes)) return;
      stdin.pause();
      this.#socket.once('drain', () => stdin.resume());
    });
    stdin.once('end', () => this.#frames.send('stdin', new Uint8Array()));
    stdin.on('error', () => {});
  }

  #write(kind: 'stdout' | 'stderr', bytes: Buffer): void {
    const output = this.#outputs[kind];
    // The socket's memory may be used again.
    if (output === undefined || output.write(Buffer.from(bytes))) return;
    this.#socket.pause();
    output.drained().then(() => this.#socket.resume());
  }

  #take(message: Readonly<Record<string, unknown>>): void {
    const { exitCode, message: text, type } = message;
    if (type === 'started') this.#options.onStarted?.();
    if (typeof exitCode !== 'number') return;
    if (type === 'exited') this.#outcome = { kind: 'exited', exitCode };
    if (type === 'failed') this.#outcome = { kind: 'failed', exitCode, message: String(text) };
  }
}
