import { MemoryImageFile } from '../support/memory-image-file.ts';
import type { Random } from '../support/random.ts';
import { DiskModel } from './disk-model.ts';
import { applyToModel } from './effect.ts';
import { applyToEngine } from './engine-side.ts';
import { randomSmallImage } from './image-recipe.ts';
import { createInMemory, openInMemory } from './memory-images.ts';
import { isPossible, randomOperations } from './operations.ts';
import type { Patterns } from './patterns.ts';

/** A valid image with something of everything in it, and its data file if it has one. */
export async function validImage(random: Random, patterns: Patterns): Promise<Uint8Array[]> {
  const image = randomSmallImage(random.fork(), false);
  const files = [new MemoryImageFile(), new MemoryImageFile()].slice(
    0,
    image.dataFile === 'none' ? 1 : 2,
  );
  createInMemory(files, image, false);
  const backing = new Uint8Array();
  const model = new DiskModel(image.sizeBytes);
  const opened = openInMemory(files, backing, false);
  const recipe = { image, backing: [], creator: 'each', cacheBytes: undefined } as const;
  for (const operation of randomOperations(random.fork(), recipe, 20)) {
    if (operation.kind === 'reopen' || !isPossible(operation, model, image, false)) continue;
    await applyToEngine(opened, operation, model, patterns);
    applyToModel(model, operation, image, false, patterns);
  }
  opened.close();
  return files.map((file) => file.content());
}
