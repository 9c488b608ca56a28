/** The possible contents of a guest's disk after a crash. */
import type { DiskModel } from './disk-model.ts';
import { Mismatch } from './mismatch.ts';

const SECTOR_BYTES = 512;

interface Period {
  readonly begin: number;
  readonly end: number;
}

/** The disk after an operation that lasted from `begin` to `end`. */
interface DiskState extends Period {
  readonly content: Uint8Array;
  readonly snapshots: readonly string[];
}

/** The states of the disk, and when they became durable. */
export class GuestHistory {
  readonly #states: DiskState[] = [];
  readonly #flushes: Period[] = [];
  readonly #snapshotChanges: Period[] = [];
  /** Contents of snapshots by name, each time one was taken. */
  readonly #snapshotContents = new Map<string, Uint8Array[]>();

  /** @param model the disk after the operation */
  addState(begin: number, end: number, model: DiskModel): void {
    const content = model.read(0, model.sizeBytes);
    this.#states.push({ begin, end, content, snapshots: model.snapshotNames });
  }

  addFlush(begin: number, end: number): void {
    this.#flushes.push({ begin, end });
  }

  addSnapshotChange(begin: number, end: number): void {
    this.#snapshotChanges.push({ begin, end });
  }

  isChangingSnapshots(time: number): boolean {
    return this.#snapshotChanges.some(({ begin, end }) => begin <= time && time <= end);
  }

  addSnapshot(name: string, model: DiskModel): void {
    const content = model.read(0, model.sizeBytes);
    this.#snapshotContents.set(name, [...(this.#snapshotContents.get(name) ?? []), content]);
  }

  /** @throws Mismatch when a crash at `time` cannot have left this */
  expectPossible(content: Uint8Array, snapshots: readonly string[], time: number): void {
    const states = this.#possibleStates(time);
    if (!states.some((state) => state.content.length === content.length)) {
      const sizes = states.map((state) => state.content.length);
      throw new Mismatch(`the size is ${content.length}, can be ${sizes}`);
    }
    if (!states.some((state) => state.snapshots.join() === snapshots.join())) {
      const lists = states.map((state) => `[${state.snapshots}]`);
      throw new Mismatch(`the snapshots are [${snapshots}], can be ${lists}`);
    }
    for (let offset = 0; offset < content.length; offset += SECTOR_BYTES) {
      const sector = content.subarray(offset, offset + SECTOR_BYTES);
      if (states.some((state) => hasSector(state.content, offset, sector))) continue;
      throw new Mismatch(
        `the sector at ${offset} is ${hex(sector)}…, can be ` +
          states.map((state) => `${hex(state.content.subarray(offset, offset + 8))}…`).join(' or '),
      );
    }
  }

  /** @throws Mismatch unless this was the disk when a snapshot of this name was taken */
  expectSnapshot(name: string, content: Uint8Array): void {
    const possible = this.#snapshotContents.get(name) ?? [];
    if (possible.some((known) => Buffer.compare(known, content) === 0)) return;
    throw new Mismatch(`the snapshot ${name} is not what the disk was`);
  }

  /** States from the last durable one to the last one that had begun. */
  #possibleStates(time: number): DiskState[] {
    let durableSince = 0;
    for (const { begin, end } of this.#flushes) {
      if (end <= time) durableSince = Math.max(durableSince, begin);
    }
    const first = this.#states.findLastIndex(({ end }) => end <= durableSince);
    return this.#states.slice(Math.max(first, 0)).filter(({ begin }) => begin <= time);
  }
}

function hasSector(content: Uint8Array, offset: number, sector: Uint8Array): boolean {
  return Buffer.compare(content.subarray(offset, offset + sector.length), sector) === 0;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, 8)).toString('hex');
}
