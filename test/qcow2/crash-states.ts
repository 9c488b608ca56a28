/**
 * Possible states of a file after a crash. Everything completed before a completed sync began is
 * there. Any other sector of 512 bytes has one of its states since then: the last one, one in
 * between, or the durable one; so a write may be lost, torn, or overtaken by a later one.
 */
import type { Random } from '../support/random.ts';
import type { FileEvent } from './journal.ts';

const SECTOR_BYTES = 512;

/** Decides which sectors changed by a non-durable event are on the disk. */
export type Survival = (event: FileEvent, isLast: boolean) => (sector: number) => boolean;

const ALL = () => true;
const NONE = () => false;

/**
 * A crash that loses nothing, one that loses as much as possible, and one that keeps only the last
 * write.
 */
export const PLAIN_SURVIVALS: Readonly<Record<string, Survival>> = {
  everything: () => ALL,
  nothing: () => NONE,
  last: (_event, isLast) => (isLast ? ALL : NONE),
};

/** Writes are kept, lost, or torn. */
export function randomSurvival(random: Random): Survival {
  const kept = random.pick([0.2, 0.5, 0.8, 0.95]);
  const torn = random.pick([0, 0.3, 0.6]);
  return () => {
    if (!random.chance(torn)) return random.chance(kept) ? ALL : NONE;
    const seed = random.fork();
    return () => seed.chance(0.5);
  };
}

/** The content of one file as events happen, and its durable state. */
export class CrashStates {
  readonly #events: readonly FileEvent[];
  readonly #durable: GrowingBytes;
  /** Number of events in `#durable`; some later ones may be durable too. */
  #durableCount = 0;

  /** @param events of this file only, in the order in which they began */
  constructor(initial: Uint8Array, events: readonly FileEvent[]) {
    this.#durable = new GrowingBytes(initial);
    this.#events = events;
  }

  /** The state of the disk after a crash at `time`, which must not decrease from call to call. */
  at(time: number, survival: Survival): Uint8Array {
    const durableSince = this.#durableSince(time);
    this.#advance(durableSince);
    const later = this.#events
      .slice(this.#durableCount)
      .filter(({ begin, kind }) => begin <= time && kind !== 'sync');
    const seen = this.#durable.copy();
    const disk = this.#durable.copy();
    for (const [index, event] of later.entries()) {
      applyEvent(seen, event);
      const isDurable = event.end <= durableSince;
      survive(disk, seen, event, isDurable ? ALL : survival(event, index === later.length - 1));
    }
    return disk.bytes();
  }

  /** Events that ended before this moment are durable. */
  #durableSince(time: number): number {
    let since = 0;
    for (const { kind, begin, end } of this.#events) {
      if (kind === 'sync' && end <= time) since = Math.max(since, begin);
    }
    return since;
  }

  /** Applies durable events, up to the first that is not. */
  #advance(durableSince: number): void {
    for (;;) {
      const event = this.#events[this.#durableCount];
      if (event === undefined || event.end > durableSince) return;
      applyEvent(this.#durable, event);
      this.#durableCount += 1;
    }
  }
}

function applyEvent(bytes: GrowingBytes, event: FileEvent): void {
  switch (event.kind) {
    case 'write':
      bytes.write(event.offset, event.data);
      break;
    case 'zeroes':
      bytes.write(event.offset, new Uint8Array(event.length));
      break;
    case 'grow':
      bytes.resize(Math.max(bytes.length, event.sizeBytes));
      break;
    case 'truncate':
      bytes.resize(event.sizeBytes);
      break;
    case 'sync':
      break;
  }
}

/** Copies the surviving sectors of an event to the disk, as they are in `seen` after it. */
function survive(
  disk: GrowingBytes,
  seen: GrowingBytes,
  event: FileEvent,
  survives: (sector: number) => boolean,
): void {
  if (event.kind !== 'write' && event.kind !== 'zeroes') {
    if (survives(0)) applyEvent(disk, event);
    return;
  }
  const end = event.offset + (event.kind === 'write' ? event.data.length : event.length);
  for (
    let sector = Math.floor(event.offset / SECTOR_BYTES);
    sector * SECTOR_BYTES < end;
    sector++
  ) {
    if (!survives(sector)) continue;
    const start = sector * SECTOR_BYTES;
    disk.write(start, seen.part(start, Math.min(SECTOR_BYTES, seen.length - start)));
  }
}

class GrowingBytes {
  #buffer: Uint8Array;
  length: number;

  constructor(content: Uint8Array) {
    this.#buffer = content.slice();
    this.length = content.length;
  }

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.length);
  }

  copy(): GrowingBytes {
    return new GrowingBytes(this.bytes());
  }

  part(offset: number, length: number): Uint8Array {
    return this.#buffer.subarray(offset, offset + length);
  }

  write(offset: number, data: Uint8Array): void {
    this.resize(Math.max(this.length, offset + data.length));
    this.#buffer.set(data, offset);
  }

  resize(length: number): void {
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(length, this.#buffer.length * 2));
      larger.set(this.bytes());
      this.#buffer = larger;
    }
    if (length < this.length) this.#buffer.fill(0, length, this.length);
    this.length = length;
  }
}
