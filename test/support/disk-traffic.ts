/** Random requests to a block device, checked against a copy of the disk in memory. */
import assert from 'node:assert/strict';
import {
  type BlockDriver,
  type BlockRequest,
  range,
  S_OK,
  type Submitted,
  T_DISCARD,
  T_FLUSH,
  T_IN,
  T_OUT,
  T_WRITE_ZEROES,
} from './block-driver.ts';
import { pattern } from './disk-fixtures.ts';
import type { Random } from './random.ts';

const SECTOR = 512;
const UNMAP = 1;
const ZEROES = new Uint8Array(SECTOR);

const WEIGHTS = { read: 8, write: 8, flush: 1, discard: 1, zeroes: 1, 'zeroes-unmap': 1 } as const;
type Kind = keyof typeof WEIGHTS;

interface Operation {
  readonly kind: Kind;
  readonly offset: number;
  readonly length: number;
  readonly data: Uint8Array;
}

export class DiskTraffic {
  /** The content that the disk must have. */
  readonly model: Uint8Array;
  readonly #driver: BlockDriver;
  readonly #random: Random;
  readonly #lengthMax: number;

  constructor(driver: BlockDriver, model: Uint8Array, random: Random, lengthMax = 32 * 1024) {
    this.#driver = driver;
    this.model = model;
    this.#random = random;
    this.#lengthMax = lengthMax;
  }

  /** Submits operations to the queues in turn and waits for all of them. @returns the used lengths */
  async #run(
    operations: readonly Operation[],
  ): Promise<(readonly [Operation, Submitted, usedLength: number])[]> {
    const queues = this.#driver.rings.length;
    const submitted = operations.map(
      (operation, index) =>
        [
          operation,
          this.#driver.submit({ ...requestOf(operation), queue: index % queues }),
        ] as const,
    );
    for (let queue = 0; queue < queues; queue++) this.#driver.kick(queue);
    const used = new Map<string, number>();
    for (const [, { queue }] of submitted) {
      const { id, length } = await this.#driver.nextUsed(queue);
      used.set(`${queue} ${id}`, length);
    }
    return submitted.map(([operation, request]) => {
      return [operation, request, used.get(`${request.queue} ${request.head}`) ?? 0];
    });
  }

  /** `count` concurrent requests in parts of the disk that do not overlap. */
  async batch(count: number): Promise<void> {
    const part = Math.floor(this.model.length / count / SECTOR) * SECTOR;
    const operations = Array.from({ length: count }, (_, index) =>
      this.#operation(index * part, part),
    );
    for (const done of await this.#run(operations)) await this.#check(...done);
  }

  /**
   * `count` concurrent requests to the same place. Whenever a sector is read, it must have its old
   * content or that of one of the requests.
   */
  async contend(count: number): Promise<void> {
    const start = this.#random.below(this.model.length / 8192) * 8192;
    const bytes = Math.min(8192, this.model.length - start);
    const operations = Array.from({ length: count }, () => this.#operation(start, bytes));
    const done = await this.#run(operations);
    const seen: [number, Uint8Array][] = [[start, await this.#read(start, bytes)]];
    for (const [{ kind, offset, length }, request] of done) {
      const { status, data } = this.#driver.answer(request, length + 1);
      assert.equal(status, S_OK);
      if (kind === 'read') seen.push([offset, data]);
    }
    for (const [offset, data] of seen) this.#checkContended(operations, offset, data);
    this.model.set(seen[0]?.[1] ?? [], start);
  }

  /** Reads the whole disk. */
  async compare(): Promise<void> {
    for (let offset = 0; offset < this.model.length; offset += 64 * 1024) {
      const expected = this.model.subarray(offset, offset + 64 * 1024);
      assertSame(await this.#read(offset, expected.length), expected, `at ${offset}`);
    }
  }

  #operation(start: number, bytes: number): Operation {
    const random = this.#random;
    const kind = random.weighted(WEIGHTS);
    // Often where earlier operations were.
    const unit = random.pick([SECTOR, 4096, 4096, 65_536]);
    const offset = start + Math.floor(random.below(bytes) / unit) * unit;
    const inPart = offset < start ? start : offset;
    const most = Math.min(this.#lengthMax, start + bytes - inPart);
    const length = random.between(1, most / SECTOR) * SECTOR;
    return { kind, offset: inPart, length, data: pattern(length, random.uint32()) };
  }

  async #check(operation: Operation, submitted: Submitted, usedLength: number): Promise<void> {
    const { kind, offset, length, data } = operation;
    const what = `${kind} of ${length} bytes at ${offset}`;
    const answer = this.#driver.answer(submitted, usedLength);
    assert.equal(answer.status, S_OK, what);
    const expected = this.model.subarray(offset, offset + length);
    if (kind === 'read') assertSame(answer.data, expected, what);
    if (kind === 'write') this.model.set(data, offset);
    if (kind === 'zeroes' || kind === 'zeroes-unmap') expected.fill(0);
    if (kind === 'discard') this.#acceptDiscard(offset, await this.#read(offset, length));
  }

  #checkContended(operations: readonly Operation[], offset: number, data: Uint8Array): void {
    for (let at = 0; at < data.length; at += SECTOR) {
      const place = offset + at;
      const possible = operations
        .filter(({ kind }) => kind !== 'read' && kind !== 'flush')
        .filter((it) => it.offset <= place && place < it.offset + it.length)
        .map(({ kind, offset: start, data: written }) =>
          kind === 'write' ? written.subarray(place - start, place - start + SECTOR) : ZEROES,
        );
      possible.push(this.model.subarray(place, place + SECTOR));
      const sector = data.subarray(at, at + SECTOR);
      const known = possible.some((bytes) => Buffer.compare(bytes, sector) === 0);
      assert.ok(known, `the sector at ${place} has bytes of another`);
    }
  }

  /** From now on, each sector may read as before or as zeroes. */
  #acceptDiscard(offset: number, after: Uint8Array): void {
    for (let at = 0; at < after.length; at += SECTOR) {
      const sector = after.subarray(at, at + SECTOR);
      const before = this.model.subarray(offset + at, offset + at + SECTOR);
      if (sector.some((byte) => byte !== 0))
        assertSame(sector, before, `discard at ${offset + at}`);
      before.set(sector);
    }
  }

  async #read(offset: number, length: number): Promise<Uint8Array> {
    const { status, data } = await this.#driver.read(offset / SECTOR, length);
    assert.equal(status, S_OK);
    return data;
  }
}

function requestOf({ kind, offset, length, data }: Operation): BlockRequest {
  const sector = offset / SECTOR;
  switch (kind) {
    case 'read':
      return { type: T_IN, sector, in: [length] };
    case 'write':
      return { type: T_OUT, sector, out: [data] };
    case 'flush':
      return { type: T_FLUSH };
    case 'discard':
      return { type: T_DISCARD, out: [range(sector, length / SECTOR)] };
    case 'zeroes':
      return { type: T_WRITE_ZEROES, out: [range(sector, length / SECTOR)] };
    case 'zeroes-unmap':
      return { type: T_WRITE_ZEROES, out: [range(sector, length / SECTOR, UNMAP)] };
  }
}

function assertSame(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.fail(`${what}: byte ${at} is ${actual[at]}, not ${expected[at]}`);
}
