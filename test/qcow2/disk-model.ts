import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';

const CHUNK_BYTES = 64 * 1024;

/** Chunks are immutable: a write replaces them. */
type Chunks = Map<number, Uint8Array>;

/** The expected content of a disk: the simplest implementation that can be right. */
export class DiskModel {
  #sizeBytes: number;
  #chunks: Chunks = new Map();
  readonly #snapshots = new Map<string, { readonly sizeBytes: number; readonly chunks: Chunks }>();

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get snapshotNames(): string[] {
    return [...this.#snapshots.keys()];
  }

  snapshotBytes(name: string): number {
    return this.#snapshot(name).sizeBytes;
  }

  /** A disk that begins with what `backing` contains. */
  static over(backing: DiskModel, sizeBytes: number): DiskModel {
    const model = new DiskModel(sizeBytes);
    model.#chunks = new Map(backing.#chunks);
    model.#forgetBehind(Math.min(sizeBytes, backing.sizeBytes));
    return model;
  }

  read(offset: number, length: number): Uint8Array {
    const target = new Uint8Array(length);
    this.#eachPart(offset, length, (index, from, done, part) => {
      const chunk = this.#chunks.get(index);
      if (chunk !== undefined) target.set(chunk.subarray(from, from + part), done);
    });
    return target;
  }

  write(offset: number, data: Uint8Array): void {
    this.#eachPart(offset, data.length, (index, from, done, part) => {
      const old = this.#chunks.get(index);
      const chunk = old === undefined ? new Uint8Array(CHUNK_BYTES) : new Uint8Array(old);
      chunk.set(data.subarray(done, done + part), from);
      this.#chunks.set(index, chunk);
    });
  }

  zero(offset: number, length: number): void {
    this.#eachPart(offset, length, (index, from, _done, part) => {
      const old = this.#chunks.get(index);
      if (old === undefined) return;
      if (part === CHUNK_BYTES) this.#chunks.delete(index);
      else this.#chunks.set(index, new Uint8Array(old).fill(0, from, from + part));
    });
  }

  resize(sizeBytes: number): void {
    this.#forgetBehind(sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  createSnapshot(name: string): void {
    this.#snapshots.set(name, { sizeBytes: this.#sizeBytes, chunks: new Map(this.#chunks) });
  }

  applySnapshot(name: string): void {
    const snapshot = this.#snapshot(name);
    this.#sizeBytes = snapshot.sizeBytes;
    this.#chunks = new Map(snapshot.chunks);
  }

  deleteSnapshot(name: string): void {
    this.#snapshot(name);
    this.#snapshots.delete(name);
  }

  /** A disk with a snapshot's content. */
  snapshotDisk(name: string): DiskModel {
    const { sizeBytes, chunks } = this.#snapshot(name);
    const disk = new DiskModel(sizeBytes);
    disk.#chunks = new Map(chunks);
    return disk;
  }

  /** The ranges that may be other than zero, in order. */
  *usedRanges(): Generator<{ readonly offset: number; readonly length: number }> {
    for (const index of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const offset = index * CHUNK_BYTES;
      yield { offset, length: Math.min(CHUNK_BYTES, this.#sizeBytes - offset) };
    }
  }

  /** Writes it as a raw image, sparse. */
  save(path: string): void {
    const fd = openSync(path, 'w');
    try {
      ftruncateSync(fd, this.#sizeBytes);
      for (const { offset, length } of this.usedRanges()) {
        writeSync(fd, this.read(offset, length), 0, length, offset);
      }
    } finally {
      closeSync(fd);
    }
  }

  #snapshot(name: string): { readonly sizeBytes: number; readonly chunks: Chunks } {
    const snapshot = this.#snapshots.get(name);
    if (snapshot === undefined) throw new Error(`no snapshot ${name}`);
    return snapshot;
  }

  #forgetBehind(sizeBytes: number): void {
    for (const index of this.#chunks.keys()) {
      const kept = sizeBytes - index * CHUNK_BYTES;
      if (kept <= 0) this.#chunks.delete(index);
      else if (kept < CHUNK_BYTES) this.zero(sizeBytes, CHUNK_BYTES - kept);
    }
  }

  #eachPart(
    offset: number,
    length: number,
    visit: (index: number, from: number, done: number, part: number) => void,
  ): void {
    for (let done = 0; done < length; ) {
      const from = (offset + done) % CHUNK_BYTES;
      const part = Math.min(length - done, CHUNK_BYTES - from);
      visit((offset + done - from) / CHUNK_BYTES, from, done, part);
      done += part;
    }
  }
}
