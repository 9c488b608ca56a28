import { type ChainRun, chainRunAt } from '../chain-run.ts';
import type { DiskImage, RunKind } from '../image.ts';

/**
 * All runs of a range, in order and without gaps. Each is mapped when it is asked for: the image may
 * have changed since the one before.
 * @param base where to stop: the layers from this one down count as absent
 */
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
