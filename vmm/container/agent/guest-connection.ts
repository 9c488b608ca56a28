import type { Duplex } from 'node:stream';
import { AgentError } from './agent.ts';
import { type FrameListener, FrameReader } from './frame-reader.ts';

/** Receives the frames of a {@link GuestConnection}. */
export interface ConnectionListener extends FrameListener {
  /** Called once: the connection has ended, or the guest does not keep to the protocol. */
  onClose(error: AgentError): void;
}

/**
 * A connection that carries frames. What the listener throws ends it, as the guest's frames are what
 * it can fail on.
 */
export class GuestConnection {
  readonly #stream: Duplex;
  readonly #listener: ConnectionListener;
  #closed = false;

  /** @param streams frame types that are streams on this connection */
  constructor(stream: Duplex, listener: ConnectionListener, streams?: Iterable<number>) {
    const reader = new FrameReader(listener, streams);
    this.#stream = stream;
    this.#listener = listener;
    stream.on('data', (bytes: Buffer) => {
      if (this.#closed) return;
      try {
        reader.push(bytes);
      } catch (error) {
        this.close(error instanceof AgentError ? error : lost(String(error)));
      }
    });
    stream.on('error', (error) => this.close(lost(error.message)));
    stream.on('end', () => this.close(lost('the guest agent closed the connection')));
    stream.on('close', () => this.close(lost('the connection to the guest agent is closed')));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Writes a frame's parts together. @returns whether more may be written at once */
  write(parts: Iterable<Uint8Array>): boolean {
    if (this.#closed) return true;
    this.#stream.cork();
    for (const part of parts) this.#stream.write(part);
    const { writableNeedDrain } = this.#stream;
    process.nextTick(() => this.#stream.uncork());
    return !writableNeedDrain;
  }

  /** Calls back once more may be written, or the connection is closed. */
  onceDrained(callback: () => void): void {
    if (this.#closed || !this.#stream.writableNeedDrain) {
      callback();
      return;
    }
    const settle = () => {
      this.#stream.off('drain', settle);
      this.#stream.off('close', settle);
      callback();
    };
    this.#stream.on('drain', settle);
    this.#stream.on('close', settle);
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Closes the connection at once. */
  close(reason: AgentError = lost('the connection to the guest agent was closed')): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream.destroy();
    this.#listener.onClose(reason);
  }
}

export function lost(reason: string): AgentError {
  return new AgentError('agent-lost', reason);
}
