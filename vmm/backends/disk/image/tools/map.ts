import type { ChainRun } from '../chain-run.ts';
import type { DiskImage } from '../image.ts';
import { chainRuns, fileParts, hasBytes } from './chain-map.ts';

/** A run of bytes, as `map` prints it. */
export interface MapEntry {
  readonly start: number;
  readonly length: number;
  /** Depth of the layer that determines the content. */
  readonly depth: number;
  /** Some layer of the chain has it. */
  readonly present: boolean;
  /** Known to read as zeroes. */
  readonly zero: boolean;
  /** Bytes are read from a file. */
  readonly data: boolean;
  /** The place of the bytes, when they are uncompressed in a file. */
  readonly offset: number | undefined;
  readonly filename: string | undefined;
}

/** The map of a range through the whole chain; adjoining runs of one kind are joined. */
export function* mapEntries(
  image: DiskImage,
  start: number,
  length: number,
): Generator<MapEntry, void, undefined> {
  let last: MapEntry | undefined;
  for (const run of chainRuns(image, start, length)) {
    for (const entry of entriesOf(run)) {
      if (last === undefined) {
        last = entry;
      } else if (continues(last, entry)) {
        last = { ...last, length: last.length + entry.length };
      } else {
        yield last;
        last = entry;
      }
    }
  }
  if (last !== undefined) yield last;
}

function* entriesOf(run: ChainRun): Generator<MapEntry, void, undefined> {
  const { offset: start, length, depth, kind, layer, present, file, fileOffset } = run;
  const data = hasBytes(kind);
  const entry: MapEntry = {
    start,
    length,
    depth,
    present,
    zero: !data,
    data,
    offset: file === undefined ? undefined : fileOffset,
    filename: file?.path,
  };
  if (kind !== 'data' || file === undefined) {
    yield entry;
    return;
  }
  if (layer.format === 'raw') {
    yield* splitAtFileEnd(entry, fileOffset, file.sizeBytes());
    return;
  }
  // Preallocated clusters are holes in the file.
  for (const { offset, length: part, isHole } of fileParts(file, fileOffset, length)) {
    yield { ...entry, start: start + offset - fileOffset, length: part, zero: isHole, offset };
  }
}

/** The file of a raw disk may contain its last sector only in part. */
function* splitAtFileEnd(
  entry: MapEntry,
  fileOffset: number,
  fileBytes: number,
): Generator<MapEntry, void, undefined> {
  const inFile = fileBytes - fileOffset;
  if (inFile >= entry.length || inFile <= 0) {
    yield entry;
    return;
  }
  yield { ...entry, length: inFile };
  yield {
    ...entry,
    start: entry.start + inFile,
    length: entry.length - inFile,
    offset: fileBytes,
    zero: true,
    data: false,
  };
}

function continues(last: MapEntry, next: MapEntry): boolean {
  return (
    last.depth === next.depth &&
    last.present === next.present &&
    last.zero === next.zero &&
    last.data === next.data &&
    last.filename === next.filename &&
    (last.offset === undefined
      ? next.offset === undefined
      : last.offset + last.length === next.offset)
  );
}
