/** Packets of GDB's remote serial protocol: "Debugging with GDB", appendix E.1, "Overview". */

/** Longest payload of a packet in either direction, in bytes. */
export const PACKET_BYTES_MAX = 16_384;

const DOLLAR = 0x24;
const HASH = 0x23;
const ESCAPE = 0x7d;
const ESCAPED_BIT = 0x20;
const INTERRUPT = 0x03;
const ACK = 0x2b;
const NAK = 0x2d;

/** What a client sends. Payloads are strings of bytes (latin1), without escapes. */
export type PacketEvent =
  | { readonly kind: 'packet'; readonly payload: string }
  /** A packet with a wrong checksum, or one that is too long. */
  | { readonly kind: 'bad' }
  | { readonly kind: 'ack' }
  | { readonly kind: 'nak' }
  /** Ctrl-C. */
  | { readonly kind: 'interrupt' };

/** Takes a stream of bytes apart. Bytes between packets are ignored, as the protocol wants it. */
export class PacketDecoder {
  #state: 'between' | 'payload' | 'escape' | 'checksum' = 'between';
  #bytes: number[] = [];
  #sum = 0;
  #digits = '';
  #tooLong = false;

  /** @returns what is complete with these bytes */
  push(bytes: Uint8Array): PacketEvent[] {
    const events: PacketEvent[] = [];
    for (const byte of bytes) {
      const event = this.#next(byte);
      if (event !== undefined) events.push(event);
    }
    return events;
  }

  #next(byte: number): PacketEvent | undefined {
    if (this.#state === 'between') return this.#between(byte);
    if (this.#state === 'checksum') return this.#checksum(byte);
    // A new packet: the rest of the one before it was lost.
    if (byte === DOLLAR) return this.#begin();
    if (byte === HASH) {
      this.#state = 'checksum';
      return undefined;
    }
    this.#sum = (this.#sum + byte) & 0xff;
    if (this.#state === 'payload' && byte === ESCAPE) {
      this.#state = 'escape';
      return undefined;
    }
    const plain = this.#state === 'escape' ? byte ^ ESCAPED_BIT : byte;
    this.#state = 'payload';
    if (this.#bytes.length < PACKET_BYTES_MAX) this.#bytes.push(plain);
    else this.#tooLong = true;
    return undefined;
  }

  #between(byte: number): PacketEvent | undefined {
    if (byte === DOLLAR) return this.#begin();
    if (byte === INTERRUPT) return { kind: 'interrupt' };
    if (byte === ACK) return { kind: 'ack' };
    return byte === NAK ? { kind: 'nak' } : undefined;
  }

  #begin(): undefined {
    this.#state = 'payload';
    this.#bytes = [];
    this.#sum = 0;
    this.#digits = '';
    this.#tooLong = false;
  }

  #checksum(byte: number): PacketEvent | undefined {
    this.#digits += String.fromCharCode(byte);
    if (this.#digits.length < 2) return undefined;
    this.#state = 'between';
    const right = /^[\da-f]{2}$/i.test(this.#digits) && parseInt(this.#digits, 16) === this.#sum;
    if (!right || this.#tooLong) return { kind: 'bad' };
    return { kind: 'packet', payload: Buffer.from(this.#bytes).toString('latin1') };
  }
}

/** `$payload#checksum`. @param payload a string of bytes, of which some are escaped */
export function encodePacket(payload: string): Uint8Array {
  const escaped = payload.replace(
    /[#$}*]/g,
    (char) => `}${String.fromCharCode(char.charCodeAt(0) ^ ESCAPED_BIT)}`,
  );
  const bytes = Buffer.from(escaped, 'latin1');
  const sum = bytes.reduce((before, byte) => (before + byte) & 0xff, 0);
  return Buffer.from(`$${escaped}#${sum.toString(16).padStart(2, '0')}`, 'latin1');
}

/** Bytes as hexadecimal digits, in the order of memory. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** @returns undefined unless `text` is an even number of hexadecimal digits */
export function fromHex(text: string): Uint8Array | undefined {
  return /^(?:[\da-f]{2})*$/i.test(text) ? Buffer.from(text, 'hex') : undefined;
}
