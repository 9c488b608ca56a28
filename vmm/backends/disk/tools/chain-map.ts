import { type ChainRun, chainRunAt } from '../chain-run.ts';
import type { DiskImage, RunKind } from '../image.ts';
import type { ImageFile } from '../image-file.ts';

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

/** A part of a file: bytes, or a hole. */
export interface FilePart {
  readonly offset: number;
  readonly length: number;
  readonly isHole: boolean;
}

/**
 * The parts of a range of a file, in order and without gaps. What lies behind the file's end is a
 * hole: it reads as zeroes.
 */
export function* fileParts(
  file: ImageFile,
  offset: number,
  length: number,
): Generator<FilePart, void, undefined> {
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const data = Math.min(nextAt(file.nextDataSync(at), at, file), end);
    const isHole = data > at;
    const to = isHole ? data : Math.min(Math.max(file.nextHoleSync(at), at + 1), end);
    yield { offset: at, length: to - at, isHole };
    at = to;
  }
}

/** Where data begins; there is none behind the file's end. */
function nextAt(found: number, at: number, file: ImageFile): number {
  return found >= file.sizeBytes() ? Number.POSITIVE_INFINITY : Math.max(found, at);
}

/** Whether a run has bytes that have to be read to be known. */
export function hasBytes(kind: RunKind): boolean {
  return kind === 'data' || kind === 'compressed';
}
