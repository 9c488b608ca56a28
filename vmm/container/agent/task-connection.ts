import { type Duplex, Readable } from 'node:stream';
import type { AgentError } from './agent.ts';
import { errorOf, FieldReader } from './field-reader.ts';
import { dataFrames, type Fields, frameHeader } from './frame-writer.ts';
import { type ConnectionListener, GuestConnection, lost } from './guest-connection.ts';
import { FRAME } from './protocol.ts';

/** What a task's connection does with the guest's frames of data. */
interface DataTaker {
  take(bytes: Buffer): void;
  end(): void;
}

const NO_DATA: DataTaker = {
  take: () => {
    throw lost('the guest agent sent data that nobody asked for');
  },
  end: () => {
    throw lost('the guest agent ended a stream that nobody asked for');
  },
};

/** The connection of a request that the agent serves by a process of its own. */
class TaskConnection implements ConnectionListener {
  readonly reply = Promise.withResolvers<FieldReader>();
  readonly connection: GuestConnection;
  readonly #taker: DataTaker;
  /** Of the first sign of life: data may take as long as it takes. */
  readonly #timer: NodeJS.Timeout;
  #replied = false;

  constructor(stream: Duplex, timeoutMs: number, taker: DataTaker, streams?: Iterable<number>) {
    this.#taker = taker;
    this.reply.promise.catch(() => {});
    this.connection = new GuestConnection(stream, this, streams);
    this.#timer = setTimeout(() => {
      this.connection.close(lost('the guest agent does not answer'));
    }, timeoutMs);
  }

  /** The guest is at work on something that may take long. */
  expectDelay(): void {
    clearTimeout(this.#timer);
  }

  onFrame(type: number, payload: Buffer): void {
    clearTimeout(this.#timer);
    if (type === FRAME.DATA) {
      this.#taker.take(payload);
    } else if (type === FRAME.REPLY && !this.#replied) {
      this.#replied = true;
      this.reply.resolve(new FieldReader(payload));
      this.connection.close();
    } else if (type === FRAME.ERROR && !this.#replied) {
      this.connection.close(errorOf(payload));
    } else {
      throw lost(`the guest agent sent a frame of type ${type} in answer to a request`);
    }
  }

  onData(_type: number, bytes: Buffer): void {
    clearTimeout(this.#timer);
    this.#taker.take(bytes);
  }

  onDataEnd(): void {
    clearTimeout(this.#timer);
    this.#taker.end();
  }

  onClose(error: AgentError): void {
    clearTimeout(this.#timer);
    this.reply.reject(error);
  }
}

export interface Task {
  readonly stream: Duplex;
  readonly type: number;
  readonly fields: Fields;
  /** Until the agent's first sign of life, in ms. */
  readonly timeoutMs: number;
}

/** A request with one answer. @throws AgentError */
export async function askOn(task: Task): Promise<FieldReader> {
  const { connection, reply } = new TaskConnection(task.stream, task.timeoutMs, NO_DATA, []);
  connection.write([task.fields.frame(task.type)]);
  return reply.promise;
}

/**
 * A request that is answered by rows: frames of fields.
 * @param rowsMax more than this are a fault of the guest's
 * @throws AgentError
 */
export async function listOn(task: Task, rowsMax: number): Promise<FieldReader[]> {
  const rows: FieldReader[] = [];
  const taker: DataTaker = {
    ...NO_DATA,
    take: (payload) => {
      if (rows.length === rowsMax) throw lost(`the guest agent sent more than ${rowsMax} rows`);
      rows.push(new FieldReader(payload));
    },
  };
  const { connection, reply } = new TaskConnection(task.stream, task.timeoutMs, taker, []);
  connection.write([task.fields.frame(task.type)]);
  await reply.promise;
  return rows;
}

/**
 * A request that is answered by a stream. Rejects if it fails before the first byte; later it fails the
 * stream. Destroying the stream ends the request.
 * @throws AgentError
 */
export async function readOn(task: Task): Promise<Readable> {
  const begun = Promise.withResolvers<void>();
  let ended = false;
  const output = new Readable({
    read: () => connection.resume(),
    destroy: (error, callback) => {
      connection.close();
      callback(error);
    },
  });
  const taker: DataTaker = {
    take: (bytes) => {
      if (ended) throw lost('the guest agent sent data behind the end of a stream');
      begun.resolve();
      if (!output.push(bytes)) connection.pause();
    },
    end: () => {
      ended = true;
      begun.resolve();
    },
  };
  const { connection, reply } = new TaskConnection(task.stream, task.timeoutMs, taker);
  connection.write([task.fields.frame(task.type)]);
  reply.promise.then(
    () => {
      if (ended) output.push(null);
      else output.destroy(lost('the guest agent did not end a stream'));
    },
    (error: AgentError) => {
      begun.reject(error);
      // Without a reader yet, the error is in the promise alone.
      output.on('error', () => {});
      output.destroy(error);
    },
  );
  await begun.promise;
  return output;
}

/** A request that a stream goes with. @throws AgentError, or the stream's error */
export async function writeOn(task: Task, input: Readable): Promise<void> {
  const connected = new TaskConnection(task.stream, task.timeoutMs, NO_DATA, []);
  const { connection, reply } = connected;
  connected.expectDelay();
  connection.write([task.fields.frame(task.type)]);
  try {
    const sent = sendAll(connection, input);
    // The agent may refuse before it has all; then the rest is not read.
    await Promise.race([reply.promise, sent.then(() => reply.promise)]);
  } finally {
    input.destroy();
    connection.close();
  }
}

async function sendAll(connection: GuestConnection, input: Readable): Promise<void> {
  for await (const bytes of input) {
    if (connection.closed) return;
    if (!connection.write(dataFrames(FRAME.DATA, bytes as Buffer))) {
      await new Promise<void>((resolve) => connection.onceDrained(resolve));
    }
  }
  connection.write([frameHeader(FRAME.DATA, 0)]);
}
