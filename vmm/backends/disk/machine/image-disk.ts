import { ChainReader } from '../image/chain-reader.ts';
import { visitChain } from '../image/chain-run.ts';
import type { DiskImage } from '../image/image.ts';
import type { Disk, DiskBackend, ScriptedOperations, ScriptRequest } from './disk.ts';
import { SECTOR_BYTES } from './extent.ts';
import { type DiskRange, ExtentPusher } from './extent-pusher.ts';
import { type PendingRequest, RequestQueue } from './request-queue.ts';
import { type SpareImage, SpareSpace } from './spare-space.ts';
import { WriteAhead } from './write-ahead.ts';

/** What the disk of a machine needs of an image beside {@link DiskImage}. */
export interface MachineImage extends DiskImage, SpareImage {
  /** Something has to be written before a flush is true: a sync of the files is not enough. */
  readonly metadataDirty: boolean;
  /** The next change flushes first, and synchronously, unless `flush` is called before. */
  readonly flushWanted: boolean;
  /** Makes every cluster that the range touches writable in place; what can be read stays. */
  prepareWriteSync(offset: number, length: number): void;
}

export interface ImageDiskOptions {
  /** What is written does not outlive the machine: a flush has nothing to do. */
  readonly throwAway: boolean;
  /** Closes the image with its backing images. */
  readonly close: () => void;
  /** About how many extents the data plane may have; enough for most disks when not given. */
  readonly extentsMax?: number;
}

/** What is made writable at once: a hostile driver's request may be as long as the disk. */
const PREPARED_BYTES_MAX = 16 * 2 ** 20;

/**
 * A disk whose bytes an image has, whatever its format, with its backing images. The data plane
 * serves what has been mapped to extents; all else comes here:
 *
 * - A read maps the whole span around it, a part of the disk that is large enough for the next ones,
 *   and some behind that where this is quick.
 *   What has no extent, compressed clusters mainly, is read here.
 * - A write makes its clusters writable, and the data plane writes. To zeroes it need not come here:
 *   the data plane has spare clusters for it, and says afterwards which it has used. While this side
 *   finds extents or changes the image nothing is claimed, and what was is known.
 * - Before a cluster loses its place its extents are withdrawn, and what is in flight is waited for:
 *   something else may soon be in that place.
 * - A flush is the image's only while its metadata is dirty; else the data plane syncs the files by
 *   itself. It is told so before the write that made the metadata dirty goes on.
 */
export class ImageDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly #image: MachineImage;
  readonly #options: ImageDiskOptions;
  readonly #reader: ChainReader;
  readonly #ahead = new WriteAhead();
  readonly #queue = new RequestQueue({
    read: (group) => this.#serveReads(group),
    write: (group) => this.#serveWrites(group),
    flush: (group) => this.#serveFlushes(group),
    clear: (group) => this.#serveClears(group),
  });
  #attached: Attached | undefined;
  #flushIsScripted: boolean;
  #hasChanged = false;

  /** @param image this disk's from now on */
  constructor(image: MachineImage, options: ImageDiskOptions) {
    this.sizeBytes = image.sizeBytes;
    this.readOnly = image.readOnly;
    this.#image = image;
    this.#options = options;
    this.#reader = new ChainReader(image);
    this.#flushIsScripted = options.throwAway || image.metadataDirty;
  }

  get scripted(): ScriptedOperations {
    return { flush: this.#flushIsScripted, discard: true, writeZeroes: true };
  }

  /** Nothing is mapped before it is asked for, so that a large image opens as fast as a small one. */
  attach(disk: Disk): void {
    const extents = new ExtentPusher(this.#image, disk, this.#options.extentsMax);
    const spare = new SpareSpace(this.#image, disk, (file, end) => extents.reach(file, end, true));
    this.#attached = { disk, extents, spare };
  }

  detach(): void {
    if (!this.#options.throwAway) this.#spare.takeBack();
  }

  /** Lays in more spare clusters before they run out. An image that has to flush first does not. */
  tend(): void {
    if (!this.#spare.isUsed || this.#image.flushWanted) return;
    this.#settle();
    if (this.#spare.isLow) this.#spare.provide(0);
  }

  resolve(_disk: Disk, request: ScriptRequest): Promise<void> {
    return this.#queue.add(request);
  }

  close(): void {
    this.#options.close();
  }

  get #there(): Attached {
    if (this.#attached === undefined) throw new Error('no disk is attached');
    return this.#attached;
  }

  get #disk(): Disk {
    return this.#there.disk;
  }

  get #extents(): ExtentPusher {
    return this.#there.extents;
  }

  get #spare(): SpareSpace {
    return this.#there.spare;
  }

  /**
   * Serves a group while nothing is claimed, and what was is known.
   * @param serve answers the requests that the data plane should go on with: afterwards, since they
   * may claim
   */
  #settled(
    group: readonly PendingRequest[],
    serve: (group: readonly PendingRequest[]) => readonly PendingRequest[],
  ): void {
    let ready: readonly PendingRequest[] = [];
    this.#spare.hold();
    try {
      this.#settle();
      ready = serve(group);
    } catch (error) {
      for (const pending of group) pending.fail(error);
    } finally {
      this.#spare.allow();
    }
    for (const pending of ready) {
      if (attempt(pending, () => this.#disk.retry(pending.request.id))) pending.done();
    }
  }

  /** Tells the image what the data plane has claimed. */
  #settle(): void {
    if (!this.#spare.isUsed) return;
    // Before the claims are taken: until then the data plane takes flushes for scripted by itself.
    this.#setFlushScripted(true);
    for (const offset of this.#spare.settle()) this.#extents.noteClaim(offset);
    this.#updateScripted();
  }

  #serveReads(group: readonly PendingRequest[]): Promise<void> | undefined {
    const unmapped: PendingRequest[] = [];
    this.#settled(group, () => {
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
    const moving = group.map(({ request }) => this.#clusters(rest(request)));
    const places = moving.filter((range) => this.#losesPlace(range));
    if (places.length > 0 || this.#image.flushWanted) {
      return this.#whenFree(places, group, (ready) => this.#write(ready));
    }
    this.#settled(group, (ready) => this.#write(ready));
    return undefined;
  }

  #write(group: readonly PendingRequest[]): readonly PendingRequest[] {
    const prepared: [PendingRequest, DiskRange][] = [];
    let claimable = 0;
    for (const pending of group) {
      attempt(pending, () => {
        const range = rest(pending.request);
        claimable += this.#prepareUnclaimable(range);
        if (claimable > 0) this.#spare.provide(Math.min(claimable, PREPARED_BYTES_MAX));
        prepared.push([pending, this.#image.reserves ? range : this.#prepareAhead(range)]);
      });
    }
    this.#noteChange();
    const mapped: PendingRequest[] = [];
    for (const [pending, range] of prepared) {
      attempt(pending, () => {
        this.#extents.findSpan(range.offset);
        this.#extents.find(this.#clusters(range));
        this.#checkWritable(rest(pending.request));
        mapped.push(pending);
      });
    }
    return this.#push(mapped);
  }

  /**
   * Makes those clusters of a range writable that are no zeroes for the data plane to claim a place
   * for.
   * @returns how many bytes of clusters it will claim
   */
  #prepareUnclaimable(range: DiskRange): number {
    let claimable = 0;
    const { offset, end } = this.#clusters(range);
    for (let at = offset; at < end; ) {
      const claimableEnd = this.#claimableEnd(at, end);
      claimable += claimableEnd - at;
      let next = claimableEnd;
      while (next < end && this.#claimableEnd(next, next + 1) === next) {
        next += this.#image.clusterBytes;
      }
      const from = Math.max(claimableEnd, range.offset);
      const to = Math.min(next, range.end);
      if (to > from) this.#image.prepareWriteSync(from, to - from);
      at = next;
    }
    return claimable;
  }

  /** Where the whole clusters that can be claimed end, from the one at `offset` on. */
  #claimableEnd(offset: number, end: number): number {
    const { clusterBytes } = this.#image;
    const wholeEnd = Math.min(Math.ceil(end / clusterBytes) * clusterBytes, this.sizeBytes);
    let claimableEnd = offset;
    visitChain(this.#image, offset, wholeEnd, (run) => {
      if (!this.#extents.isClaimable(run)) return false;
      claimableEnd = run.offset + run.length;
      return true;
    });
    return claimableEnd - ((claimableEnd - offset) % clusterBytes);
  }

  /** Prepares what may lie behind a range that was prepared; answers what it is now. */
  #prepareAhead({ offset, end }: DiskRange): DiskRange {
    try {
      const aheadEnd = this.#zeroesEnd(end, this.#ahead.next(offset, end));
      if (aheadEnd > end) this.#image.prepareWriteSync(end, aheadEnd - end);
      return { offset, end: aheadEnd };
    } catch {
      // There is no room for more than what was asked for.
      return { offset, end };
    }
  }

  /** Where the zeroes end that begin at `offset`: preparing them copies nothing. */
  #zeroesEnd(offset: number, most: number): number {
    let zeroesEnd = offset;
    visitChain(this.#image, offset, Math.min(most, this.sizeBytes), (run) => {
      if (run.kind === 'zero') zeroesEnd = run.offset + run.length;
      return run.kind === 'zero';
    });
    return zeroesEnd;
  }

  /** Others need not wait: an image may change while it flushes. */
  #serveFlushes(group: readonly PendingRequest[]): undefined {
    this.#settled(group, () => {
      if (!this.#options.throwAway && !this.#image.metadataDirty) return group;
      if (this.#options.throwAway) this.#finish(group);
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
    const places = group.map(({ request }) => this.#clusters(rest(request)));
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
      attempt(pending, () => this.#extents.findAgain(this.#clusters(rest(pending.request)))),
    );
    this.#finish(this.#push(mapped));
    return [];
  }

  /** Serves a group once nothing in flight uses those places, and nothing will. */
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
    this.#settled(group, serve);
  }

  /** Something in the range is shared, and has to be written elsewhere. */
  #losesPlace({ offset, end }: DiskRange): boolean {
    try {
      for (let at = offset; at < end; ) {
        const run = this.#image.mapSync(at, end - at);
        if (run.kind === 'data' && !run.writable) return true;
        at += run.length;
      }
    } catch {
      // What lies is the write's own failure.
    }
    return false;
  }

  /** The data plane would come back with the write again and again if it could not be done now. */
  #checkWritable({ offset, end }: DiskRange): void {
    for (let at = offset; at < end; ) {
      const run = this.#image.mapSync(at, end - at);
      const hasNoPlace = run.kind === 'zero' || run.kind === 'unallocated';
      const isClaimable = hasNoPlace && run.file === undefined;
      if (!run.writable && !(isClaimable && this.#image.reserves))
        throw new Error(`the image has no place for what is written at ${at}`);
      at += run.length;
    }
  }

  /** Grown to whole clusters, or sectors where they are larger. */
  #clusters({ offset, end }: DiskRange): DiskRange {
    const unit = Math.max(this.#image.clusterBytes, SECTOR_BYTES);
    return {
      offset: offset - (offset % unit),
      end: Math.min(Math.ceil(end / unit) * unit, this.sizeBytes),
    };
  }

  /** What follows every change, before the guest hears of it. */
  #noteChange(): void {
    if (!this.#hasChanged) this.#extents.forgetSpans();
    this.#hasChanged = true;
    this.#reader.forget();
    this.#updateScripted();
  }

  #updateScripted(): void {
    this.#setFlushScripted(this.#options.throwAway || this.#image.metadataDirty);
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

  /** @returns the group, or nothing when the data plane has no memory: then it has failed */
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

/** What there is once a disk is attached. */
interface Attached {
  readonly disk: Disk;
  readonly extents: ExtentPusher;
  readonly spare: SpareSpace;
}

/** What is still to be done of a request, or as much of it as is done at once. */
function rest({ offset, length, gapOffset, op }: ScriptRequest): DiskRange {
  const end = offset + length;
  if (op !== 'write') return { offset, end };
  return { offset: gapOffset, end: Math.min(end, gapOffset + PREPARED_BYTES_MAX) };
}

/** Does a step of a request, which fails if that does. */
function attempt(pending: PendingRequest, step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    pending.fail(error);
    return false;
  }
}
