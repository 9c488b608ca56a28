import type { DiskImage, RunKind } from '../image.ts';
import type { ImageFile } from '../image-file.ts';

/** A run of bytes as the layer that decides about them has it. */
export interface ChainRun {
  readonly offset: number;
  readonly length: number;
  /** `unallocated`: no layer has anything there. */
  readonly kind: RunKind;
  /** How far down the chain that layer is: 0 is the image itself. */
  readonly depth: number;
  readonly layer: DiskImage;
  /** That layer has it; not so for what is unallocated, or behind a smaller backing image's end. */
  readonly present: boolean;
  /** Where the bytes lie, or would lie, if they have a place. */
  readonly file: ImageFile | undefined;
  readonly fileOffset: number;
}

/**
 * The run that begins at `offset`, at most `length` long.
 * @param base where to stop: the layers from this one down count as absent
 */
export function chainRunAt(
  image: DiskImage,
  offset: number,
  length: number,
  base?: DiskImage,
): ChainRun {
  let layer = image;
  let limit = length;
  for (let depth = 0; ; depth++) {
    const run = layer.mapSync(offset, limit);
    limit = run.length;
    const below = layer.backing;
    if (run.kind !== 'unallocated' || below === undefined || below === base) {
      const { kind, file, fileOffset } = run;
      const present = kind !== 'unallocated';
      return { offset, length: limit, kind, depth, layer, present, file, fileOffset };
    }
    if (offset >= below.sizeBytes) {
      // A backing image that ends earlier reads as zeroes there, whatever lies below it.
      const place = { depth, layer, present: false, file: undefined, fileOffset: 0 };
      return { offset, length: limit, kind: 'zero', ...place };
    }
    limit = Math.min(limit, below.sizeBytes - offset);
    layer = below;
  }
}

/** All runs of a range, in order and without gaps. Each is mapped when it is asked for. */
export function* chainRuns(
  image: DiskImage,
  offset: number,
  length: number,
  base?: DiskImage,
): Generator<ChainRun> {
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const run = chainRunAt(image, at, end - at, base);
    yield run;
    at += run.length;
  }
}

/** Whether a run has bytes that have to be read to be known. */
export function hasBytes(kind: RunKind): boolean {
  return kind === 'data' || kind === 'compressed';
}
