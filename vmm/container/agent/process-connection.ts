import { type Duplex, Readable, Writable } from 'node:stream';
import type { AgentError, GuestProcess, ProcessEnd } from './agent.ts';
import { errorOf, FieldReader } from './field-reader.ts';
import { dataFrames, type Fields, frameHeader } from './frame-writer.ts';
import { type ConnectionListener, GuestConnection, lost } from './guest-connection.ts';
import { EXIT, FRAME, STARTED } from './protocol.ts';

const SIGNAL_MAX = 64;
const EXIT_CODE_MAX = 255;

/** The end that a frame of type EXIT tells. */
function parseEnd(payload: Buffer): ProcessEnd {
  const fields = new FieldReader(payload);
  const signal = fields.optionalNumber(EXIT.SIGNAL);
  if (signal === undefined) {
    const exitCode = fields.number(EXIT.CODE);
    if (exitCode > EXIT_CODE_MAX) throw lost(`the guest agent sent the exit code ${exitCode}`);
    return { exitCode };
  }
  if (signal < 1 || signal > SIGNAL_MAX) throw lost(`the guest agent sent the signal ${signal}`);
  return { signal };
}

/** The connection of one process: its start, its streams, its end. */
class ProcessConnection implements ConnectionListener {
  readonly started = Promise.withResolvers<number>();
  readonly ended = Promise.withResolvers<ProcessEnd>();
  readonly stdin: Writable | undefined;
  readonly stdout: Readable;
  readonly stderr: Readable | undefined;
  readonly #connection: GuestConnection;
  readonly #timer: NodeJS.Timeout;
  /** Streams whose reader takes no more for now: the connection is paused while there are any. */
  readonly #full = new Set<Readable>();
  #state: 'starting' | 'running' | 'ended' = 'starting';

  constructor(
    stream: Duplex,
    options: { readonly stdin: boolean; readonly terminal: boolean; readonly timeoutMs: number },
  ) {
    this.stdout = this.#output();
    this.stderr = options.terminal ? undefined : this.#output();
    this.stdin = options.stdin ? this.#input() : undefined;
    this.#connection = new GuestConnection(stream, this, [FRAME.STDOUT, FRAME.STDERR]);
    this.ended.promise.catch(() => {});
    this.#timer = setTimeout(() => {
      this.#connection.close(lost('the guest agent does not answer'));
    }, options.timeoutMs);
  }

  send(request: Fields): void {
    this.#connection.write([request.frame(FRAME.START)]);
  }

  onFrame(type: number, payload: Buffer): void {
    if (type === FRAME.REPLY && this.#state === 'starting') {
      clearTimeout(this.#timer);
      this.#state = 'running';
      this.started.resolve(new FieldReader(payload).number(STARTED.PROCESS));
    } else if (type === FRAME.ERROR && this.#state === 'starting') {
      this.#connection.close(errorOf(payload));
    } else if (type === FRAME.EXIT && this.#state === 'running') {
      const end = parseEnd(payload);
      this.#state = 'ended';
      this.ended.resolve(end);
    } else {
      throw lost(
        `the guest agent sent a frame of type ${type} while the process is ${this.#state}`,
      );
    }
  }

  onData(type: number, bytes: Buffer): void {
    const stream = this.#streamOf(type);
    if (stream.destroyed || stream.push(bytes)) return;
    this.#full.add(stream);
    this.#connection.pause();
  }

  onDataEnd(type: number): void {
    this.#streamOf(type).push(null);
  }

  onClose(error: AgentError): void {
    clearTimeout(this.#timer);
    this.started.reject(error);
    this.ended.reject(error);
    this.stdout.push(null);
    this.stderr?.push(null);
  }

  #streamOf(type: number): Readable {
    const stream = type === FRAME.STDOUT ? this.stdout : this.stderr;
    if (stream === undefined || this.#state === 'starting' || stream.readableEnded) {
      throw lost('the guest agent sent output for a stream that is not open');
    }
    return stream;
  }

  #output(): Readable {
    const stream: Readable = new Readable({
      read: () => this.#release(stream),
      destroy: (error, callback) => {
        // What is still to come is dropped, so that the process does not wait for ever.
        this.#release(stream);
        this.#closeIfUnwanted();
        callback(error);
      },
    });
    return stream;
  }

  /** Output that others write after the process's end is of use only as long as somebody reads it. */
  #closeIfUnwanted(): void {
    const isUnwanted = this.stdout.destroyed && (this.stderr?.destroyed ?? true);
    if (this.#state === 'ended' && isUnwanted) this.#connection.close();
  }

  #release(stream: Readable): void {
    if (this.#full.delete(stream) && this.#full.size === 0) this.#connection.resume();
  }

  #input(): Writable {
    return new Writable({
      write: (bytes: Buffer, _encoding, callback) => {
        this.#connection.write(dataFrames(FRAME.STDIN, bytes));
        this.#connection.onceDrained(() => callback());
      },
      final: (callback) => {
        this.#connection.write([frameHeader(FRAME.STDIN, 0)]);
        callback();
      },
    });
  }
}

/**
 * Starts a process on a new connection.
 * @throws AgentError of the guest, or `agent-lost`
 */
export async function startOn(
  stream: Duplex,
  request: Fields,
  options: { readonly stdin: boolean; readonly terminal: boolean; readonly timeoutMs: number },
): Promise<GuestProcess> {
  const connection = new ProcessConnection(stream, options);
  connection.send(request);
  const id = await connection.started.promise;
  const { stdin, stdout, stderr, ended } = connection;
  return { id, stdin, stdout, stderr, ended: ended.promise };
}
