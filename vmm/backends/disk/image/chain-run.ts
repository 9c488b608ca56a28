import type { DiskImage, ImageRun } from './image.ts';

/** A run of a chain of images, in the layer that determines its content. */
export interface ChainRun extends ImageRun {
  readonly offset: number;
  /** Depth of that layer; 0 is the image itself. */
  readonly depth: number;
  readonly layer: DiskImage;
  /** False when no layer has it: it is unallocated, or past the end of a smaller backing image. */
  readonly present: boolean;
}

/** A run as it reads through the chain. */
export interface ReadRun extends ChainRun {
  /** Also `zero` for what no layer has. */
  readonly kind: 'data' | 'compressed' | 'zero';
}

/**
 * The run that begins at `offset`, at most `length` long.
 * @param offset inside the image
 * @param base layers from this one down are ignored
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
 * must not change meanwhile. Stops when `visit` returns false.
 * @returns false when it was stopped
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
 * @param nothingUntil by depth, up to where a layer is known to be unallocated: it is not mapped
 * again for every run of a layer below
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
      // Loops over an image advance by this.
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
