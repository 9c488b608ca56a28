import { printable } from '../../util/printable.ts';
import { AgentError, type AgentErrorCode } from './agent.ts';
import { ERROR, ERROR_CODES, FIELD_HEADER_BYTES } from './protocol.ts';

function broken(what: string): AgentError {
  return new AgentError('agent-lost', `the guest agent sent ${what}`);
}

/** The fields of a frame from the guest. Every accessor checks what it returns. */
export class FieldReader {
  readonly #values = new Map<number, Buffer[]>();

  /** @throws AgentError `agent-lost` if the fields do not fit into the payload */
  constructor(payload: Buffer) {
    let rest = payload;
    while (rest.length > 0) {
      if (rest.length < FIELD_HEADER_BYTES) throw broken('a field that is cut off');
      const tag = rest.readUInt8(0);
      const end = FIELD_HEADER_BYTES + rest.readUInt32LE(1);
      if (end > rest.length) throw broken('a field that is longer than its frame');
      const values = this.#values.get(tag);
      const value = rest.subarray(FIELD_HEADER_BYTES, end);
      if (values === undefined) this.#values.set(tag, [value]);
      else values.push(value);
      rest = rest.subarray(end);
    }
  }

  bytes(tag: number): Buffer | undefined {
    return this.#values.get(tag)?.[0];
  }

  list(tag: number): readonly Buffer[] {
    return this.#values.get(tag) ?? [];
  }

  has(tag: number): boolean {
    return this.#values.has(tag);
  }

  /** An integer from 0 to 2^53 - 1, or undefined if the field is missing. */
  optionalNumber(tag: number): number | undefined {
    const bytes = this.bytes(tag);
    if (bytes === undefined) return undefined;
    if (bytes.length !== 8) throw broken('a number of another size than 8 bytes');
    const value = bytes.readBigUInt64LE(0);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw broken('a number that is out of range');
    return Number(value);
  }

  number(tag: number): number {
    const value = this.optionalNumber(tag);
    if (value === undefined) throw broken(`a frame without the field ${tag}`);
    return value;
  }

  text(tag: number): string {
    const bytes = this.bytes(tag);
    if (bytes === undefined) throw broken(`a frame without the field ${tag}`);
    if (bytes.indexOf(0) !== bytes.length - 1) throw broken('a text without its end');
    return bytes.toString('utf8', 0, bytes.length - 1);
  }
}

/** The error that a frame of type ERROR tells. */
export function errorOf(payload: Buffer): AgentError {
  const fields = new FieldReader(payload);
  const code: AgentErrorCode = ERROR_CODES[fields.number(ERROR.CODE)] ?? 'guest-failed';
  const errno = fields.optionalNumber(ERROR.ERRNO);
  return new AgentError(code, printable(fields.text(ERROR.TEXT)), errno === 0 ? undefined : errno);
}
