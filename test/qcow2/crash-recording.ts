/** Runs operations on an image in memory, and records what happens to its files and to the disk. */
import type { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { DiskModel } from './disk-model.ts';
import { applyToModel } from './effect.ts';
import { applyToEngine } from './engine-side.ts';
import { GuestHistory } from './guest-history.ts';
import type { ImageOptions } from './image-recipe.ts';
import { Journal, RecordingFile } from './journal.ts';
import { createInMemory, openInMemory } from './memory-images.ts';
import { isPossible, type Operation } from './operations.ts';
import type { Patterns } from './patterns.ts';

export interface CrashRecipe {
  readonly image: ImageOptions;
  /** Bytes of a raw backing image, 0 for none. */
  readonly backingBytes: number;
  /** Operations before the recording. */
  readonly prefill: readonly Operation[];
  readonly operations: readonly Operation[];
}

export interface Recorded {
  /** The files before the first operation. */
  readonly initial: readonly Uint8Array[];
  readonly journal: Journal;
  readonly history: GuestHistory;
  readonly backing: Uint8Array;
}

/** @param sabotage modifies the engine's files, to prove that a crash can reveal faults */
export async function recordOperations(
  recipe: CrashRecipe,
  patterns: Patterns,
  sabotage?: (file: RecordingFile) => void,
): Promise<Recorded> {
  const { image: options, backingBytes } = recipe;
  const journal = new Journal();
  const files = [0, 1]
    .slice(0, options.dataFile === 'none' ? 1 : 2)
    .map((index) => new RecordingFile(index, journal));
  createInMemory(files, options, backingBytes > 0);
  const backing = patterns.bytes(1, backingBytes);
  const below = new DiskModel(backingBytes);
  below.write(0, backing);
  const model = DiskModel.over(below, options.sizeBytes);
  const open = () => openInMemory(files, backing, false);

  const preparation = new Recording(recipe, patterns, journal, model, below, open);
  await preparation.run(recipe.prefill);
  const initial = files.map((file) => file.content());
  journal.events.length = 0;
  for (const file of files) sabotage?.(file);
  const recording = new Recording(recipe, patterns, journal, model, below, open);
  await recording.run(recipe.operations);
  return { initial, journal, history: recording.history, backing };
}

class Recording {
  readonly history = new GuestHistory();
  readonly #recipe: CrashRecipe;
  readonly #patterns: Patterns;
  readonly #journal: Journal;
  readonly #model: DiskModel;
  /** The backing image. */
  readonly #below: DiskModel;
  readonly #open: () => Qcow2Image;
  #image: Qcow2Image;
  /** A flush during which operations continue. */
  #flushing: Promise<void> | undefined;

  constructor(
    recipe: CrashRecipe,
    patterns: Patterns,
    journal: Journal,
    model: DiskModel,
    below: DiskModel,
    open: () => Qcow2Image,
  ) {
    this.#recipe = recipe;
    this.#patterns = patterns;
    this.#journal = journal;
    this.#model = model;
    this.#below = below;
    this.#open = open;
    this.#image = open();
  }

  async run(operations: readonly Operation[]): Promise<void> {
    const start = this.#journal.now();
    this.history.addState(start, start, this.#model);
    for (const operation of operations) await this.#step(operation);
    await this.#flushing;
    this.#image.close();
  }

  async #step(operation: Operation): Promise<void> {
    const { image, backingBytes } = this.#recipe;
    const hasBacking = backingBytes > 0;
    if (!isPossible(operation, this.#model, image, hasBacking)) return;
    if (!BESIDE_A_FLUSH.has(operation.kind)) await this.#flushing;
    const begin = this.#journal.now();
    if (operation.kind === 'flush' && operation.how === 'async') {
      this.#flushing = this.#flush();
      return;
    }
    if (operation.kind === 'reopen') this.#reopen();
    else await applyToEngine(this.#image, operation, this.#model, this.#patterns);
    const end = this.#journal.now();
    if (operation.kind === 'resize') this.#addCutStates(begin, end, operation.sizeBytes);
    applyToModel(this.#model, operation, image, hasBacking, this.#patterns);
    this.history.addState(begin, end, this.#model);
    if (operation.kind === 'flush') this.history.addFlush(begin, end);
    if (operation.kind.endsWith('-snapshot')) this.history.addSnapshotChange(begin, end);
    if (operation.kind === 'create-snapshot') this.history.addSnapshot(operation.name, this.#model);
  }

  /**
   * While a disk is being shrunk, content past its new end may be gone although the size is still
   * the old one: it is zero, or the backing image's.
   */
  #addCutStates(begin: number, end: number, sizeBytes: number): void {
    const cutBytes = this.#model.sizeBytes - sizeBytes;
    if (cutBytes <= 0) return;
    this.#model.zero(sizeBytes, cutBytes);
    this.history.addState(begin, end, this.#model);
    if (sizeBytes >= this.#below.sizeBytes) return;
    const shown = Math.min(cutBytes, this.#below.sizeBytes - sizeBytes);
    this.#model.write(sizeBytes, this.#below.read(sizeBytes, shown));
    this.history.addState(begin, end, this.#model);
  }

  async #flush(): Promise<void> {
    const begin = this.#journal.now();
    await this.#image.flush();
    this.history.addFlush(begin, this.#journal.now());
  }

  #reopen(): void {
    this.#image.close();
    this.#image = this.#open();
  }
}

const BESIDE_A_FLUSH: ReadonlySet<Operation['kind']> = new Set([
  'read',
  'write',
  'burst',
  'compressed',
  'zeroes',
  'discard',
]);
