import { fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import { Output } from '../../output.ts';
import { OutputDescriptor } from '../../output-descriptor.ts';
import { openPipe } from '../../output-flags.ts';

/** Where a session writes what a process says. Never blocks. */
export interface SessionOutput {
  /** @returns false when bytes are buffered: wait for {@link drained} */
  write(bytes: Uint8Array): boolean;
  drained(): Promise<void>;
}

/** @param onClosed called when nobody reads the output any more: EPIPE */
export function openSessionOutput(fd: number, onClosed: () => void): SessionOutput {
  const pipe = fstatSync(fd).isFIFO() ? openPipe(fd) : undefined;
  if (pipe !== undefined) return new PipeOutput(pipe, onClosed);
  return new Output(new OutputDescriptor(fd), {
    onLost: (error) => {
      if (error instanceof Error && 'code' in error && error.code === 'EPIPE') onClosed();
    },
  });
}

/** A pipe: its reader wakes us. */
class PipeOutput implements SessionOutput {
  readonly #pipe: Socket;
  #waiting: (() => void)[] = [];
  #closed = false;

  constructor(pipe: Socket, onClosed: () => void) {
    this.#pipe = pipe;
    this.#pipe.on('drain', () => this.#settle());
    this.#pipe.on('error', () => {
      this.#closed = true;
      this.#settle();
      onClosed();
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.#closed) return true;
    this.#pipe.write(bytes);
    return this.#pipe.writableLength === 0 || !this.#pipe.writableNeedDrain;
  }

  async drained(): Promise<void> {
    if (this.#closed || this.#pipe.writableLength === 0) return;
    // Below its high-water mark, a stream tells nothing when it is empty.
    if (!this.#pipe.writableNeedDrain) {
      await new Promise<void>((resolve) => {
        this.#pipe.write(new Uint8Array(), () => resolve());
      });
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #settle(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
