import type { DiskImage, ImageRun } from './image.ts';

/** A run of a chain of images: what a disk's bytes are once every layer has been asked. */
export interface ChainRun extends Omit<ImageRun, 'kind'> {
  readonly kind: 'data' | 'compressed' | 'zero';
  readonly offset: number;
  /** The layer that has it; the lowest one for zeroes that none has. */
  readonly layer: DiskImage;
}

/**
 * Visits the runs of [offset, end), in order, looking through `image` and its backing images. Stops
 * when `visit` answers false, and answers whether it did not.
 * @throws TsvmError `invalid-disk`, `disk-io`
 */
export function visitChain(
  image: DiskImage,
  offset: number,
  end: number,
  visit: (run: ChainRun) => boolean,
): boolean {
  for (let at = offset; at < end; ) {
    // What lies behind the end of a smaller backing image reads as zeroes.
    if (at >= image.sizeBytes) return visit(zeroes(image, at, end - at));
    const run = image.mapSync(at, Math.min(end, image.sizeBytes) - at);
    const { kind, length } = run;
    let goOn: boolean;
    if (kind !== 'unallocated') goOn = visit({ ...run, kind, offset: at, layer: image });
    else if (image.backing !== undefined) goOn = visitChain(image.backing, at, at + length, visit);
    else goOn = visit(zeroes(image, at, length));
    if (!goOn) return false;
    at += length;
  }
  return true;
}

function zeroes(layer: DiskImage, offset: number, length: number): ChainRun {
  const nowhere = { file: undefined, fileOffset: 0, writable: false };
  return { kind: 'zero', offset, length, layer, ...nowhere };
}
