/** A client of GDB's remote serial protocol, for tests; it knows nothing of the stub's code. */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';

export class GdbClient {
  readonly socket: Socket;
  #text = '';
  #onData = () => {};
  #closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.#text += text;
      this.#onData();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
      this.#onData();
    });
  }

  static async connect(where: string | number): Promise<GdbClient> {
    const socket =
      typeof where === 'string' ? createConnection(where) : createConnection(where, '127.0.0.1');
    await once(socket, 'connect');
    return new GdbClient(socket);
  }

  /** Sends a packet and returns the answer's payload. */
  async ask(payload: string): Promise<string> {
    this.send(payload);
    return await this.answer();
  }

  send(payload: string): void {
    const bytes = Buffer.from(payload, 'latin1');
    const sum = bytes.reduce((before, byte) => (before + byte) % 256, 0);
    this.raw(`$${payload}#${sum.toString(16).padStart(2, '0')}`);
  }

  raw(text: string): void {
    this.socket.write(Buffer.from(text, 'latin1'));
  }

  /** Ctrl-C. */
  interrupt(): void {
    this.raw('\x03');
  }

  /** The payload of the next packet, whose checksum must be right; it is acknowledged. */
  async answer(): Promise<string> {
    const [, payload = '', sum = ''] = await this.#match(/^[+-]*\$([^#]*)#([\da-f]{2})/);
    const bytes = Buffer.from(payload, 'latin1');
    const expected = bytes.reduce((before, byte) => (before + byte) % 256, 0);
    if (parseInt(sum, 16) !== expected) throw new Error(`wrong checksum of ${payload}`);
    this.raw('+');
    return payload.replace(/\}(.)/gs, (_, char: string) =>
      String.fromCharCode(char.charCodeAt(0) ^ 0x20),
    );
  }

  /** Waits for this text, such as `-`, between packets. */
  async expect(pattern: RegExp): Promise<void> {
    await this.#match(pattern);
  }

  async closed(): Promise<void> {
    // once() would reject when an acknowledgement comes too late.
    if (!this.#closed) await new Promise((resolve) => this.socket.on('close', resolve));
  }

  close(): void {
    this.socket.destroy();
  }

  async #match(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.#text);
      if (found !== null) {
        this.#text = this.#text.slice(found.index + found[0].length);
        return found;
      }
      if (this.#closed) throw new Error(`the connection was closed; unread: ${this.#text}`);
      await new Promise<void>((resolve) => {
        this.#onData = resolve;
      });
    }
  }
}
