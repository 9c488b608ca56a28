import type { ImageFile } from '../../file/image-file.ts';
import { SECTOR_BYTES } from '../../file/sector.ts';
import { type ChainRun, chainRunAt } from '../chain-run.ts';
import type { DiskImage, RunKind } from '../image.ts';

/**
 * All runs of a range, in order and without gaps. Each is mapped when it is requested: the image
 * may change in between.
 * @param base layers from this one down are ignored
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

/** A part of a file: data or a hole. */
export interface FilePart {
  readonly offset: number;
  readonly length: number;
  readonly isHole: boolean;
}

/**
 * The parts of a range of a file, in order and without gaps. Past the file's end there is a hole.
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
 * The part that begins at an offset, possibly past the file's end; it is not empty. A sector that
 * is partly data is data: a file may end inside one.
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

/** Finds holes in data runs: parts of image files that were never written and read as zeroes. */
export class FileHoles {
  /** The last part that was found: adjoining runs are often in the same. */
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

  /**
   * Its first part. Only data runs have holes, and those of raw images are mapped as zero already.
   */
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

/** Whether a run's content has to be read from a file. */
export function hasBytes(kind: RunKind): boolean {
  return kind === 'data' || kind === 'compressed';
}
