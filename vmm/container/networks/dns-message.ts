/** The part of the DNS protocol (RFC 1035, 6891) that answers about a container's names need. */

/** Longest question that is answered, in bytes. A name has at most 255. */
export const QUERY_BYTES_MAX = 1_232;
/** Longest answer over a stream, whose length has 16 bits. */
export const STREAM_BYTES_MAX = 65_535;
/** Longest answer over UDP to a client that does not say more. */
const DATAGRAM_BYTES = 512;
/** Longest answer over UDP. */
const DATAGRAM_BYTES_MAX = 4_096;

export const HEADER_BYTES = 12;
const LABEL_BYTES_MAX = 63;
const NAME_BYTES_MAX = 255;
const CLASS_IN = 1;
const TYPE_OPT = 41;
/** Where the question's name is, as names refer to it. */
const QUESTION_NAME = 0xc000 | HEADER_BYTES;
/** Answers are not kept: containers come and go. */
const TTL_S = 0;

export const TYPE = { A: 1, PTR: 12, AAAA: 28, ANY: 255 } as const;
export const CODE = { OK: 0, FORMAT: 1, NOT_IMPLEMENTED: 4, REFUSED: 5 } as const;

const FLAG = {
  RESPONSE: 0x8000,
  TRUNCATED: 0x0200,
  RECURSION: 0x0100,
  CAN_RECURSE: 0x0080,
} as const;
const OPCODE = 0x7800;

/** A message that asks. */
export interface Query {
  readonly id: number;
  /** Flags that an answer repeats. */
  readonly flags: number;
  /** Not {@link CODE.OK}: all that can be answered. */
  readonly problem: number;
  /** As it was sent; empty if it cannot be read. */
  readonly question: Buffer;
  /** In lower case, without a dot at the end; undefined if no host name is like that. */
  readonly name: string | undefined;
  readonly type: number;
  /** The client knows of EDNS, which the answer has then, too. */
  readonly hasOptions: boolean;
  /** Longest answer over UDP, in bytes. */
  readonly datagramBytes: number;
}

/** @param answer with a header */
export function codeOf(answer: Buffer): number {
  return (answer[3] ?? 0) & 0x0f;
}

/** What a record of an answer says of the question's name. */
export interface DnsRecord {
  readonly type: number;
  readonly data: Buffer;
}

/** @returns undefined: it is no question, and gets no answer */
export function parseQuery(message: Buffer): Query | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const flags = message.readUInt16BE(2);
  if ((flags & FLAG.RESPONSE) !== 0) return undefined;
  const query = {
    id: message.readUInt16BE(0),
    flags: flags & (OPCODE | FLAG.RECURSION),
    question: Buffer.alloc(0),
    name: undefined,
    type: 0,
    hasOptions: false,
    datagramBytes: DATAGRAM_BYTES,
  };
  if ((flags & OPCODE) !== 0) return { ...query, problem: CODE.NOT_IMPLEMENTED };
  const question = message.readUInt16BE(4) === 1 ? readName(message, HEADER_BYTES) : undefined;
  const end = (question?.end ?? message.length) + 4;
  if (question === undefined || end > message.length) return { ...query, problem: CODE.FORMAT };
  const bytes = optionsOf(message, end);
  return {
    ...query,
    problem: message.readUInt16BE(end - 2) === CLASS_IN ? CODE.OK : CODE.REFUSED,
    question: message.subarray(HEADER_BYTES, end),
    name: question.name,
    type: message.readUInt16BE(end - 4),
    hasOptions: bytes !== undefined,
    datagramBytes: Math.min(Math.max(bytes ?? 0, DATAGRAM_BYTES), DATAGRAM_BYTES_MAX),
  };
}

/** Reads the name of a question, which refers to no other. */
function readName(
  message: Buffer,
  start: number,
): { readonly name: string | undefined; readonly end: number } | undefined {
  const labels: string[] = [];
  for (let at = start; at < message.length && at - start < NAME_BYTES_MAX; ) {
    const length = message[at] ?? 0;
    at += 1;
    if (length === 0) {
      const isHostName = labels.length > 0 && labels.every((label) => !label.includes('.'));
      return { name: isHostName ? labels.join('.').toLowerCase() : undefined, end: at };
    }
    if (length > LABEL_BYTES_MAX) return undefined;
    labels.push(message.toString('latin1', at, at + length));
    at += length;
  }
  return undefined;
}

/** The size of the client's buffer, of the record that says it: the first one behind the question. */
function optionsOf(message: Buffer, at: number): number | undefined {
  const isOnly = message.readUInt32BE(6) === 0 && message.readUInt16BE(10) > 0;
  if (!isOnly || at + 11 > message.length || message[at] !== 0) return undefined;
  return message.readUInt16BE(at + 1) === TYPE_OPT ? message.readUInt16BE(at + 3) : undefined;
}

/**
 * @param records as many as there is room for
 * @param bytesMax of the whole answer. A longer one says that it is truncated, and has no records
 */
export function answerTo(
  query: Query,
  code: number,
  records: readonly DnsRecord[],
  bytesMax: number,
): Buffer {
  const encoded = records.map(encodeRecord);
  const options = query.hasOptions ? [optionsRecord()] : [];
  const bytes = [query.question, ...encoded, ...options].reduce(
    (sum, { length }) => sum + length,
    HEADER_BYTES,
  );
  const isWhole = bytes <= bytesMax;
  const header = Buffer.alloc(HEADER_BYTES);
  const flags = query.flags | FLAG.RESPONSE | FLAG.CAN_RECURSE | (isWhole ? 0 : FLAG.TRUNCATED);
  header.writeUInt16BE(query.id, 0);
  header.writeUInt16BE(flags | code, 2);
  header.writeUInt16BE(query.question.length > 0 ? 1 : 0, 4);
  header.writeUInt16BE(isWhole ? encoded.length : 0, 6);
  header.writeUInt16BE(options.length, 10);
  return Buffer.concat([header, query.question, ...(isWhole ? encoded : []), ...options]);
}

function encodeRecord({ data, type }: DnsRecord): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt16BE(QUESTION_NAME, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(CLASS_IN, 4);
  head.writeUInt32BE(TTL_S, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function optionsRecord(): Buffer {
  const record = Buffer.alloc(11);
  record.writeUInt16BE(TYPE_OPT, 1);
  record.writeUInt16BE(DATAGRAM_BYTES_MAX, 3);
  return record;
}

/** @returns undefined if the protocol has no such name */
export function encodeName(name: string): Buffer | undefined {
  const labels = name.split('.').map((label) => Buffer.from(label, 'latin1'));
  if (labels.some(({ length }) => length === 0 || length > LABEL_BYTES_MAX)) return undefined;
  const parts = labels.flatMap((label) => [Buffer.of(label.length), label]);
  const encoded = Buffer.concat([...parts, Buffer.of(0)]);
  return encoded.length > NAME_BYTES_MAX ? undefined : encoded;
}
