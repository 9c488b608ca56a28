import type { ImageFile } from '../../file/image-file.ts';
import { SECTOR_BYTES } from '../../file/sector.ts';
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
    const part = filePartAt(file, at);
    const to = Math.min(at + part.length, end);
    yield { offset: at, length: to - at, isHole: part.isHole };
    at = to;
  }
}

/**
 * The part that begins at an offset, which may be behind the file's end; it is not empty. A sector
 * that is data in part is data: a file may end in one.
 */
function filePartAt(file: ImageFile, offset: number): FilePart {
  const data = file.nextDataSync(offset);
  if (data >= file.sizeBytes()) {
    return { offset, length: Number.POSITIVE_INFINITY, isHole: true };
  }
  const dataSector = Math.floor(data / SECTOR_BYTES) * SECTOR_BYTES;
  const isHole = dataSector > offset;
  const hole = Math.ceil(file.nextHoleSync(data) / SECTOR_BYTES) * SECTOR_BYTES;
  return { offset, length: isHole ? dataSector - offset : Math.max(1, hole - offset), isHole };
}

/** Holes of images' files: of data runs, what reads as zeroes because nothing was written there. */
export class FileHoles {
  /** The part that was found last: runs that adjoin are often in the same. */
  #found: (FilePart & { readonly file: ImageFile }) | undefined;

  /** The parts of a run, by their offset in the image. */
  *partsOf(run: ChainRun): Generator<FilePart, void, undefined> {
    const end = run.offset + run.length;
    for (let at = run.offset; at < end; ) {
      const into = at - run.offset;
      const { fileOffset } = run;
      const rest = { ...run, offset: at, length: end - at, fileOffset: fileOffset + into };
      const part = this.firstOf(rest);
      yield part;
      at += part.length;
    }
  }

  /** Its first part. Only data has holes, and a raw image's own have been found already. */
  firstOf({ file, fileOffset, kind, layer, length, offset }: ChainRun): FilePart {
    if (kind !== 'data' || file === undefined || layer.format === 'raw') {
      return { offset, length, isHole: false };
    }
    const part = this.#partAt(file, fileOffset);
    return {
      offset,
      length: Math.min(length, part.offset + part.length - fileOffset),
      isHole: part.isHole,
    };
  }

  #partAt(file: ImageFile, at: number): FilePart {
    const last = this.#found;
    if (last?.file === file && at >= last.offset && at < last.offset + last.length) return last;
    const part = filePartAt(file, at);
    this.#found = { ...part, file };
    return part;
  }
}

/** Whether a run has bytes that have to be read to be known. */
export function hasBytes(kind: RunKind): boolean {
  return kind === 'data' || kind === 'compressed';
}
