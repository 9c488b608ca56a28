import { BoundedReader } from './bounded-reader.ts';
import { ClusterStock } from './cluster-stock.ts';
import type { Disk, DiskBackend, ScriptedOperations, ScriptRequest } from './disk.ts';
import { type DiskRange, ExtentPusher } from './extent-pusher.ts';
import type { MachineImage } from './machine-image.ts';
import { type PendingRequest, RequestQueue } from './request-queue.ts';
import { WritePreparation } from './write-preparation.ts';

export interface ImageDiskOptions {
  /** Writes do not outlive the machine: a flush has nothing to do. */
  readonly temporary: boolean;
  /** Closes the image with its backing images. */
  readonly close: () => void;
  /** Approximate bound of the data plane's extents; by default enough for most disks. */
  readonly extentsMax?: number;
}

/** Bound of what is made writable at once: a hostile driver's request may be as long as the disk. */
const PREPARED_BYTES_MAX = 16 * 2 ** 20;

/**
 * A machine's disk in an image of any format, with its backing images. The data plane serves what has
 * been mapped to extents; everything else comes here:
 *
 * - A read maps the whole span around it, a part of the disk large enough for the reads that follow,
 *   and the next spans where that is quick. What has no extent, mainly compressed clusters, is read
 *   here.
 * - A write makes its clusters writable, then the data plane writes. A write to zeroes need not come
 *   here: the data plane claims clusters from the stock and reports the claims later. While this side
 *   finds extents or changes the image, claiming is suspended and earlier claims have been applied.
 * - Before a cluster loses its place its extents are withdrawn and requests in flight are awaited:
 *   the place may soon hold something else.
 * - A flush comes here only while metadata is dirty; otherwise the data plane syncs the files. It is
 *   told so before the write that dirtied the metadata continues.
 */
export class ImageDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly #image: MachineImage;
  readonly #options: ImageDiskOptions;
  readonly #reader: BoundedReader;
  readonly #queue = new RequestQueue({
    read: (group) => this.#serveReads(group),
    write: (group) => this.#serveWrites(group),
    flush: (group) => this.#serveFlushes(group),
    clear: (group) => this.#serveClears(group),
  });
  #attached: Attached | undefined;
  #flushIsScripted: boolean;
  #hasChanged = false;

  /** @param image closed with the disk */
  constructor(image: MachineImage, options: ImageDiskOptions) {
    this.sizeBytes = image.sizeBytes;
    this.readOnly = image.readOnly;
    this.#image = image;
    this.#options = options;
    this.#reader = new BoundedReader(image);
    this.#flushIsScripted = options.temporary || image.metadataDirty;
  }

  get scripted(): ScriptedOperations {
    return { flush: this.#flushIsScripted, discard: true, writeZeroes: true };
  }

  /** Nothing is mapped before it is needed, so that a large image opens as fast as a small one. */
  attach(disk: Disk): void {
    const extents = new ExtentPusher(this.#image, disk, this.#options.extentsMax);
    const stock = new ClusterStock(this.#image, disk, (file, end) =>
      extents.reach(file, end, true),
    );
    this.#attached = { disk, extents, stock, writes: new WritePreparation(this.#image, extents) };
  }

  async flush(): Promise<void> {
    if (this.#options.temporary || this.readOnly) return;
    this.#applyClaims();
    await this.#image.flush();
  }

  detach(): void {
    if (!this.#options.temporary) this.#stock.release();
  }

  /** Refills the stock before it runs out, unless the image has to flush first. */
  refill(): void {
    if (!this.#stock.isActive || this.#image.flushWanted) return;
    this.#applyClaims();
    if (this.#stock.isLow) this.#stock.refill(0);
  }

  resolve(_disk: Disk, request: ScriptRequest): Promise<void> {
    return this.#queue.add(request);
  }

  close(): void {
    this.#options.close();
  }

  get #parts(): Attached {
    if (this.#attached === undefined) throw new Error('no disk is attached');
    return this.#attached;
  }

  get #disk(): Disk {
    return this.#parts.disk;
  }

  get #extents(): ExtentPusher {
    return this.#parts.extents;
  }

  get #writes(): WritePreparation {
    return this.#parts.writes;
  }

  get #stock(): ClusterStock {
    return this.#parts.stock;
  }

  /**
   * Serves a group with claiming suspended and earlier claims applied.
   * @param serve returns the requests that the data plane retries: afterwards, since they may claim
   */
  #withoutClaims(
    group: readonly PendingRequest[],
    serve: (group: readonly PendingRequest[]) => readonly PendingRequest[],
  ): void {
    let ready: readonly PendingRequest[] = [];
    this.#stock.setClaiming(false);
    try {
      this.#applyClaims();
      ready = serve(group);
    } catch (error) {
      for (const pending of group) pending.fail(error);
    } finally {
      this.#stock.setClaiming(true);
    }
    for (const pending of ready) {
      if (attempt(pending, () => this.#disk.retry(pending.request.id))) pending.done();
    }
  }

  /** Records what the data plane has claimed. */
  #applyClaims(): void {
    if (!this.#stock.isActive) return;
    // Before the claims are taken: until then the data plane treats flushes as scripted by itself.
    this.#setFlushScripted(true);
    for (const offset of this.#stock.applyClaims()) this.#extents.noteClaim(offset);
    this.#updateScripted();
  }

  #serveReads(group: readonly PendingRequest[]): Promise<void> | undefined {
    const unmapped: PendingRequest[] = [];
    this.#withoutClaims(group, () => {
      const mapped: PendingRequest[] = [];
      for (const pending of group) {
        const { gapOffset, offset, length } = pending.request;
        attempt(pending, () => {
          this.#extents.findSpan(gapOffset);
          const range = { offset: gapOffset, end: offset + length };
          (this.#extents.find(range) ? mapped : unmapped).push(pending);
        });
      }
      return this.#push(mapped);
    });
    if (unmapped.length === 0) return undefined;
    return Promise.all(unmapped.map((pending) => this.#read(pending))).then(() => {});
  }

  async #read(pending: PendingRequest): Promise<void> {
    const { id, offset, length } = pending.request;
    try {
      const data = await this.#reader.read(offset, length);
      this.#disk.finish(id, 0, data);
      pending.done();
    } catch (error) {
      pending.fail(error);
    }
  }

  #serveWrites(group: readonly PendingRequest[]): Promise<void> | undefined {
    const ranges = group.map(({ request }) => this.#writes.clusters(rest(request)));
    const places = ranges.filter((range) => this.#writes.losesPlace(range));
    if (places.length > 0 || this.#image.flushWanted) {
      return this.#whenFree(places, group, (ready) => this.#write(ready));
    }
    this.#withoutClaims(group, (ready) => this.#write(ready));
    return undefined;
  }

  #write(group: readonly PendingRequest[]): readonly PendingRequest[] {
    const prepared: [PendingRequest, DiskRange][] = [];
    let claimable = 0;
    for (const pending of group) {
      attempt(pending, () => {
        const range = rest(pending.request);
        claimable += this.#writes.prepareUnclaimable(range);
        if (claimable > 0) this.#stock.refill(Math.min(claimable, PREPARED_BYTES_MAX));
        prepared.push([pending, this.#image.canReserve ? range : this.#writes.prepareAhead(range)]);
      });
    }
    this.#noteChange();
    const mapped: PendingRequest[] = [];
    for (const [pending, range] of prepared) {
      attempt(pending, () => {
        this.#extents.findSpan(range.offset);
        this.#extents.find(this.#writes.clusters(range));
        this.#writes.checkWritable(rest(pending.request));
        mapped.push(pending);
      });
    }
    return this.#push(mapped);
  }

  /** Other requests need not wait: an image may change while it flushes. */
  #serveFlushes(group: readonly PendingRequest[]): undefined {
    this.#withoutClaims(group, () => {
      if (!this.#options.temporary && !this.#image.metadataDirty) return group;
      if (this.#options.temporary) this.#finish(group);
      else void this.#flush(group);
      return [];
    });
  }

  async #flush(group: readonly PendingRequest[]): Promise<void> {
    try {
      await this.#image.flush();
      this.#updateScripted();
      this.#finish(group);
    } catch (error) {
      for (const pending of group) pending.fail(error);
    }
  }

  #serveClears(group: readonly PendingRequest[]): Promise<void> {
    const places = group.map(({ request }) => this.#writes.clusters(rest(request)));
    return this.#whenFree(places, group, (ready) => this.#clear(ready));
  }

  #clear(group: readonly PendingRequest[]): readonly PendingRequest[] {
    const cleared = group.filter((pending) =>
      attempt(pending, () => {
        const { op, offset, length, mayUnmap } = pending.request;
        if (op === 'discard') this.#image.discardSync(offset, length);
        else this.#image.writeZeroesSync(offset, length, mayUnmap);
      }),
    );
    this.#noteChange();
    const mapped = cleared.filter((pending) =>
      attempt(pending, () => this.#extents.findAgain(this.#writes.clusters(rest(pending.request)))),
    );
    this.#finish(this.#push(mapped));
    return [];
  }

  /** Serves a group once nothing in flight uses these ranges' extents any more. */
  async #whenFree(
    places: readonly DiskRange[],
    group: readonly PendingRequest[],
    serve: (group: readonly PendingRequest[]) => readonly PendingRequest[],
  ): Promise<void> {
    try {
      await Promise.all(
        places.map(({ offset, end }) => this.#disk.withdrawExtents(offset, end - offset)),
      );
      if (this.#image.flushWanted) await this.#image.flush();
    } catch (error) {
      for (const pending of group) pending.fail(error);
      return;
    }
    this.#withoutClaims(group, serve);
  }

  /** Follows every change, before the guest is told of its completion. */
  #noteChange(): void {
    if (!this.#hasChanged) this.#extents.clearSpans();
    this.#hasChanged = true;
    this.#updateScripted();
  }

  #updateScripted(): void {
    this.#setFlushScripted(this.#options.temporary || this.#image.metadataDirty);
  }

  #setFlushScripted(wanted: boolean): void {
    if (wanted === this.#flushIsScripted) return;
    this.#flushIsScripted = wanted;
    this.#disk.setScripted(this.scripted);
  }

  #finish(group: readonly PendingRequest[]): void {
    for (const pending of group) {
      if (attempt(pending, () => this.#disk.finish(pending.request.id, 0))) pending.done();
    }
  }

  /** @returns the group; nothing when the data plane is out of memory, which fails the group */
  #push(group: readonly PendingRequest[]): readonly PendingRequest[] {
    try {
      this.#extents.push();
      return group;
    } catch (error) {
      for (const pending of group) pending.fail(error);
      return [];
    }
  }
}

/** The parts that exist once a disk is attached. */
interface Attached {
  readonly disk: Disk;
  readonly extents: ExtentPusher;
  readonly stock: ClusterStock;
  readonly writes: WritePreparation;
}

/** The unfinished part of a request, cut to what is done at once. */
function rest({ offset, length, gapOffset, op }: ScriptRequest): DiskRange {
  const end = offset + length;
  if (op !== 'write') return { offset, end };
  return { offset: gapOffset, end: Math.min(end, gapOffset + PREPARED_BYTES_MAX) };
}

/** Runs a step of a request; fails the request when the step throws. */
function attempt(pending: PendingRequest, step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    pending.fail(error);
    return false;
  }
}
