/** Random bytes and damaged frames from a guest: the result is a frame or an AgentError, nothing else. */
import { deepEqual, ok } from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { AgentError } from '../../../../vmm/container/agent/agent.ts';
import { errorOf, FieldReader } from '../../../../vmm/container/agent/field-reader.ts';
import { FrameReader } from '../../../../vmm/container/agent/frame-reader.ts';
import { Fields, frameHeader } from '../../../../vmm/container/agent/frame-writer.ts';
import { FRAME, PATH_STAT, PROCESS, STATS } from '../../../../vmm/container/agent/protocol.ts';
import {
  changesOf,
  pathStatOf,
  processOf,
  statsOf,
} from '../../../../vmm/container/agent/replies.ts';
import { Random } from '../../../support/random.ts';

const ROUNDS = 3000;
const TYPES = Object.values(FRAME);
const TAGS = [STATS, PROCESS, PATH_STAT].map((tags) => Object.values(tags));

function randomBytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

function randomFields(random: Random, depth = 0): Fields {
  const fields = new Fields();
  for (const tag of TAGS[random.below(TAGS.length)] ?? []) {
    const kind = random.below(depth < 2 ? 8 : 7);
    if (kind === 0) continue;
    if (kind < 5) fields.number(tag, random.below(2 ** 31));
    else if (kind === 5) fields.text(tag, 'text');
    else if (kind === 6) fields.bytes(tag, randomBytes(random, random.below(40)));
    else fields.fields(tag, randomFields(random, depth + 1));
  }
  return fields;
}

/** A stream of frames, most of them sound, in which some bytes are changed. */
function randomStream(random: Random): Buffer {
  const parts: Buffer[] = [];
  for (let i = random.below(6); i >= 0; i--) {
    const type =
      random.below(9) === 0 ? random.below(256) : (TYPES[random.below(TYPES.length)] ?? 1);
    const payload =
      random.below(2) === 0 ? randomFields(random).encode() : randomBytes(random, random.below(80));
    parts.push(frameHeader(type, payload.length), payload);
  }
  const stream = Buffer.concat(parts);
  for (let i = random.below(4); i > 0 && stream.length > 0; i--) {
    stream[random.below(stream.length)] = random.below(256);
  }
  return stream.subarray(
    0,
    stream.length - (random.below(4) === 0 ? random.below(stream.length) : 0),
  );
}

interface Outcome {
  readonly frames: string[];
  readonly payloads: Buffer[];
  readonly error: string | undefined;
}

/** What comes out of a stream that arrives in such parts. Data of a stream's frames is joined. */
function read(stream: Buffer, partLength: () => number): Outcome {
  const frames: string[] = [];
  const payloads: Buffer[] = [];
  const data = new Map<number, string>();
  const reader = new FrameReader({
    onFrame: (type, payload) => {
      frames.push(`${type} ${payload.toString('hex')}`);
      payloads.push(payload);
    },
    onData: (type, bytes) => data.set(type, (data.get(type) ?? '') + bytes.toString('hex')),
    onDataEnd: (type) => frames.push(`end ${type}`),
  });
  let error: string | undefined;
  try {
    for (let start = 0; start < stream.length; ) {
      const length = partLength();
      reader.push(stream.subarray(start, start + length));
      start += length;
    }
  } catch (reason) {
    ok(reason instanceof AgentError, String(reason));
    error = reason.message;
  }
  return { frames: [...frames, ...[...data].map(String)], payloads, error };
}

/** Calls a parser, which may refuse. */
async function parses(parse: () => unknown): Promise<void> {
  try {
    await parse();
  } catch (reason) {
    ok(reason instanceof AgentError, String(reason));
  }
}

test('damaged frames, in parts of any length', async () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = new Random(seed);
    const stream = randomStream(random);
    const whole = read(stream, () => Math.max(1, stream.length));
    const parts = read(stream, () => 1 + random.below(12));
    deepEqual(
      { frames: parts.frames, error: parts.error },
      { frames: whole.frames, error: whole.error },
      `seed ${seed}`,
    );
    for (const payload of whole.payloads) {
      for (const parse of [statsOf, processOf, pathStatOf]) {
        await parses(() => parse(new FieldReader(payload)));
      }
      await parses(() => errorOf(payload));
      await parses(() => changesOf(Readable.from([payload])));
    }
  }
});
