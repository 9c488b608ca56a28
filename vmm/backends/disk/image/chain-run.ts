import type { DiskImage, ImageRun } from './image.ts';

/** A run of a chain of images, as the layer that decides about it has it. */
export interface ChainRun extends ImageRun {
  readonly offset: number;
  /** How far down the chain that layer is: 0 is the image itself. */
  readonly depth: number;
  readonly layer: DiskImage;
  /** That layer has it; not so for what is unallocated, or behind a smaller backing image's end. */
  readonly present: boolean;
}

/** A run of what a chain reads as. */
export interface ReadRun extends ChainRun {
  /** `zero` as well for what no layer has. */
  readonly kind: 'data' | 'compressed' | 'zero';
}

/**
 * The run that begins at `offset`, at most `length` long.
 * @param offset inside the image
 * @param base where to stop: the layers from this one down count as absent
 * @throws TsvmError `invalid-disk`, `disk-io`
 */
export function chainRunAt(
  image: DiskImage,
  offset: number,
  length: number,
  base?: DiskImage,
): ChainRun {
  return runAt(image, offset, length, base, []);
}

/**
 * Visits the runs of [offset, end), in order, looking through `image` and its backing images, which
 * do not change meanwhile. Stops when `visit` answers false, and answers whether it did not.
 * @throws TsvmError `invalid-disk`, `disk-io`
 */
export function visitChain(
  image: DiskImage,
  offset: number,
  end: number,
  visit: (run: ReadRun) => boolean,
): boolean {
  const nothingUntil: number[] = [];
  for (let at = offset; at < end; ) {
    const run = runAt(image, at, end - at, undefined, nothingUntil);
    const kind = run.kind === 'unallocated' ? 'zero' : run.kind;
    if (!visit({ ...run, kind })) return false;
    at += run.length;
  }
  return true;
}

/**
 * @param nothingUntil for each layer, where it is known to have nothing up to: it is not asked again
 * for every run of a layer below
 */
function runAt(
  image: DiskImage,
  offset: number,
  length: number,
  base: DiskImage | undefined,
  nothingUntil: number[],
): ChainRun {
  let layer = image;
  let limit = length;
  for (let depth = 0; ; depth++) {
    let nothingEnd = nothingUntil[depth] ?? 0;
    if (nothingEnd <= offset) {
      const run = layer.mapSync(offset, limit);
      // Every loop over an image goes on by this.
      if (!(run.length > 0)) throw new Error(`${layer.file.path}: an empty run at ${offset}`);
      if (run.kind !== 'unallocated') return { ...run, offset, depth, layer, present: true };
      nothingEnd = offset + run.length;
      nothingUntil[depth] = nothingEnd;
    }
    limit = Math.min(limit, nothingEnd - offset);
    const below = layer.backing;
    const nothing = { offset, length: limit, depth, layer, present: false, ...NOWHERE };
    if (below === undefined || below === base) return { ...nothing, kind: 'unallocated' };
    // A backing image that ends earlier reads as zeroes there, whatever lies below it.
    if (offset >= below.sizeBytes) return { ...nothing, kind: 'zero' };
    limit = Math.min(limit, below.sizeBytes - offset);
    layer = below;
  }
}

const NOWHERE = { file: undefined, fileOffset: 0, writable: false };
