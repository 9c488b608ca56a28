/**
 * Runs one stream of operations on one image with our engine, QEMU and a model. They must agree on
 * every read, and in the end on the content, the map, the snapshots, and that the image is valid.
 */
import { renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DiskImage } from '../../vmm/backends/disk/image/image.ts';
import { closeImage } from '../../vmm/backends/disk/image/open-image.ts';
import { DiskModel } from './disk-model.ts';
import { applyToModel } from './effect.ts';
import { applyToEngine, expectWholeContent } from './engine-side.ts';
import {
  DATA_NAME,
  dataFileOf,
  type ImagePlaces,
  imagePlaces,
  type MakerTools,
  makeImages,
} from './image-maker.ts';
import type { ImageRecipe } from './image-recipe.ts';
import { Mismatch } from './mismatch.ts';
import { isPossible, type Operation, qemuGoesBackTo } from './operations.ts';
import { QemuSide } from './qemu-side.ts';
import {
  expectInfo,
  expectMapAgrees,
  expectModelIn,
  expectSnapshotContent,
  expectSound,
  openWithChain,
} from './verdict.ts';

export interface ContestTools extends MakerTools {
  /** An empty folder for this contest alone. */
  readonly folder: string;
  /** Modifies our engine, to prove that a contest can be lost. */
  readonly sabotage?: ((image: DiskImage) => void) | undefined;
}

/** @throws Error with the operation and the difference */
export async function runContest(
  recipe: ImageRecipe,
  operations: readonly Operation[],
  tools: ContestTools,
): Promise<void> {
  const contest = new Contest(recipe, tools);
  let doing = 'making the images';
  try {
    await contest.begin();
    for (const [index, operation] of operations.entries()) {
      doing = `operation ${index}, ${JSON.stringify(operation)}`;
      await contest.step(operation);
    }
    doing = 'the verdict';
    await contest.end();
  } catch (error) {
    throw new Error(`${doing}: ${describe(error)}`, { cause: error });
  } finally {
    await contest.abandon();
  }
}

function describe(error: unknown): string {
  if (error instanceof Mismatch) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

class Contest {
  readonly #recipe: ImageRecipe;
  readonly #tools: ContestTools;
  readonly #places: ImagePlaces;
  readonly #qemu: QemuSide;
  #image: DiskImage | undefined;
  #model = new DiskModel(0);
  #layersBefore = '';

  constructor(recipe: ImageRecipe, tools: ContestTools) {
    this.#recipe = recipe;
    this.#tools = tools;
    this.#places = imagePlaces(tools.folder, recipe);
    this.#qemu = new QemuSide(tools.qemuIo, tools.patterns, 2 ** recipe.image.clusterBits);
  }

  async begin(): Promise<void> {
    this.#model = await makeImages(this.#recipe, this.#places, this.#tools);
    this.#layersBefore = this.#layerStates();
    await this.#open();
  }

  async step(operation: Operation): Promise<void> {
    const { image: options, backing } = this.#recipe;
    const hasBacking = backing.length > 0;
    if (!isPossible(operation, this.#model, options, hasBacking)) return;
    const { patterns } = this.#tools;
    // Concurrently; both must end before a failure is reported.
    const results = await Promise.allSettled([
      applyToEngine(this.#opened(), operation, this.#model, patterns),
      this.#qemu.apply(operation, this.#model.sizeBytes),
    ]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    applyToModel(this.#model, operation, options, hasBacking, patterns);
    if (operation.kind === 'reopen') await this.#reopen(operation.swap);
  }

  async end(): Promise<void> {
    await expectWholeContent(this.#opened(), this.#model);
    await this.#close();
    const { folder, ours, theirs } = this.#places;
    const { image: options, backing } = this.#recipe;
    const names = this.#model.snapshotNames.filter((name) =>
      qemuGoesBackTo(name, this.#model, options, backing.length > 0),
    );
    for (const path of [ours, theirs]) {
      await expectSound(path);
      await expectModelIn(path, this.#model, folder);
      await expectInfo(path, this.#model);
      if (options.dataFile === 'raw') {
        await expectModelIn(join(dirname(path), DATA_NAME), this.#model, folder, 'raw');
      }
    }
    await expectMapAgrees(ours);
    if (names.length > 0) {
      await expectSnapshotContent(ours, this.#tools.random.pick(names), this.#model, folder);
    }
    if (this.#layerStates() !== this.#layersBefore) throw new Mismatch('a backing file changed');
  }

  /** Closes everything, whatever has happened. */
  async abandon(): Promise<void> {
    if (this.#image === undefined) return;
    await this.#close().catch(() => {});
  }

  #opened(): DiskImage {
    if (this.#image === undefined) throw new Error('the image is closed');
    return this.#image;
  }

  async #open(): Promise<void> {
    const { cacheBytes } = this.#recipe;
    this.#image = openWithChain(this.#places.ours, { readOnly: false, cacheBytes });
    this.#tools.sabotage?.(this.#image);
    const layer = { format: 'qcow2', ...this.#recipe.image } as const;
    const { folder, theirs } = this.#places;
    await this.#qemu.open(theirs, dataFileOf(layer, join(folder, 'theirs', DATA_NAME)));
  }

  async #close(): Promise<void> {
    const image = this.#opened();
    this.#image = undefined;
    await this.#qemu.close();
    closeImage(image);
  }

  async #reopen(swap: boolean): Promise<void> {
    await this.#close();
    await expectSound(this.#places.ours);
    if (swap) {
      const at = (name: string) => join(this.#places.folder, name);
      renameSync(at('ours'), at('swapped'));
      renameSync(at('theirs'), at('ours'));
      renameSync(at('swapped'), at('theirs'));
    }
    await this.#open();
  }

  #layerStates(): string {
    const states = this.#places.layers.map((path) => {
      const { mtimeNs, size } = statSync(path, { bigint: true });
      return `${mtimeNs} ${size}`;
    });
    return states.join();
  }
}
