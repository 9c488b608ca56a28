/** Creates the images of a recipe: a chain, and one image on top of it for each engine. */
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { qemuImgOutputIn } from '../support/qemu-img.ts';
import type { QemuIo } from '../support/qemu-io.ts';
import type { Random } from '../support/random.ts';
import { createByEngine } from './create-by-engine.ts';
import { DiskModel } from './disk-model.ts';
import { applyToModel } from './effect.ts';
import { createOptions, type ImageOptions, type ImageRecipe, type Layer } from './image-recipe.ts';
import { randomPrefill } from './operations.ts';
import type { Patterns } from './patterns.ts';
import { QemuSide } from './qemu-side.ts';

export const IMAGE_NAME = 'disk.qcow2';
export const DATA_NAME = 'disk.data';

/** The paths of a recipe's images. */
export interface ImagePlaces {
  readonly folder: string;
  readonly ours: string;
  readonly theirs: string;
  readonly layers: readonly string[];
}

export function imagePlaces(folder: string, { backing }: ImageRecipe): ImagePlaces {
  return {
    folder,
    ours: join(folder, 'ours', IMAGE_NAME),
    theirs: join(folder, 'theirs', IMAGE_NAME),
    layers: backing.map((_, level) => join(folder, 'chain', `layer${level}`)),
  };
}

export interface MakerTools {
  readonly qemuIo: QemuIo;
  readonly patterns: Patterns;
  /** The source of the images' content. */
  readonly random: Random;
}

/** Creates all images and returns their content. */
export async function makeImages(
  recipe: ImageRecipe,
  places: ImagePlaces,
  tools: MakerTools,
): Promise<DiskModel> {
  for (const name of ['ours', 'theirs', 'chain']) mkdirSync(join(places.folder, name));
  let model = new DiskModel(0);
  for (const [level, layer] of recipe.backing.entries()) {
    await createByQemu(join(places.folder, 'chain'), `layer${level}`, recipe, level);
    model = DiskModel.over(model, layer.sizeBytes);
    const path = places.layers[level] ?? '';
    await prefill(path, dataFileOf(layer, `${path}.data`), layer, level > 0, model, tools);
  }
  model = DiskModel.over(model, recipe.image.sizeBytes);
  await makePair(recipe, places, model, tools);
  return model;
}

async function makePair(
  recipe: ImageRecipe,
  { folder, ours, theirs }: ImagePlaces,
  model: DiskModel,
  tools: MakerTools,
): Promise<void> {
  const { image, backing } = recipe;
  await createByQemu(join(folder, 'theirs'), IMAGE_NAME, recipe, backing.length);
  if (recipe.creator === 'each') {
    await createByEngine(ours, image, DATA_NAME, backingOf(recipe, backing.length));
    return;
  }
  const layer = { format: 'qcow2', ...image } as const;
  const dataFile = dataFileOf(layer, join(folder, 'theirs', DATA_NAME));
  await prefill(theirs, dataFile, layer, backing.length > 0, model, tools);
  const names = image.dataFile === 'none' ? [IMAGE_NAME] : [IMAGE_NAME, DATA_NAME];
  for (const name of names) copyFileSync(join(folder, 'theirs', name), join(folder, 'ours', name));
}

/** `path`, if the layer has an external data file. */
export function dataFileOf(layer: Layer, path: string): string | undefined {
  return layer.format === 'qcow2' && layer.dataFile !== 'none' ? path : undefined;
}

/** A backing file's name, valid from all folders of images. */
export function backingOf(
  { backing }: ImageRecipe,
  level: number,
): { readonly name: string; readonly format: 'raw' | 'qcow2' } | undefined {
  const below = backing[level - 1];
  return below === undefined
    ? undefined
    : { name: `../chain/layer${level - 1}`, format: below.format };
}

async function createByQemu(
  folder: string,
  name: string,
  recipe: ImageRecipe,
  level: number,
): Promise<void> {
  const layer: Layer = recipe.backing[level] ?? { format: 'qcow2', ...recipe.image };
  const words = ['create', '-q', '-f', layer.format];
  if (layer.format === 'qcow2') {
    const isTop = level === recipe.backing.length;
    words.push('-o', createOptions(layer, isTop ? DATA_NAME : `${join(folder, name)}.data`));
    const backing = backingOf(recipe, level);
    if (backing !== undefined) words.push('-b', backing.name, '-F', backing.format);
  }
  await qemuImgOutputIn(folder, ...words, name, String(layer.sizeBytes));
}

async function prefill(
  path: string,
  dataFile: string | undefined,
  layer: Layer,
  hasBacking: boolean,
  model: DiskModel,
  { qemuIo, patterns, random }: MakerTools,
): Promise<void> {
  const options = layer.format === 'qcow2' ? layer : rawOptions(layer.sizeBytes);
  const side = new QemuSide(qemuIo, patterns, 2 ** options.clusterBits);
  if (layer.format === 'raw') await side.openRaw(path);
  else await side.open(path, dataFile);
  for (const operation of randomPrefill(random, options, random.between(0, 12))) {
    // Raw images do these differently, or not at all.
    const isForeign = operation.kind === 'compressed' || operation.kind === 'discard';
    if (layer.format === 'raw' && isForeign) continue;
    await side.apply(operation, layer.sizeBytes);
    applyToModel(model, operation, options, hasBacking, patterns);
  }
  await side.close();
}

/** The layout that determines where operations on a raw image happen. */
function rawOptions(sizeBytes: number): ImageOptions {
  return {
    version: 3,
    clusterBits: 16,
    refcountBits: 16,
    lazyRefcounts: false,
    extendedL2: false,
    dataFile: 'none',
    compression: 'zlib',
    preallocation: 'off',
    sizeBytes,
  };
}
