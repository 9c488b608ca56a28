import type { ChainRun } from '../chain-run.ts';
import type { DiskImage } from '../image.ts';
import { chainRuns, fileParts, hasBytes } from './chain-map.ts';

/** A run of bytes, as `map` tells it. */
export interface MapEntry {
  readonly start: number;
  readonly length: number;
  /** How far down the chain the layer is that decides. */
  readonly depth: number;
  /** A layer of the chain decides. */
  readonly present: boolean;
  /** Known to read as zeroes. */
  readonly zero: boolean;
  /** There are bytes that are read. */
  readonly data: boolean;
  /** Where the bytes are, when they lie in a file as they are. */
  readonly offset: number | undefined;
  readonly filename: string | undefined;
}

/** The map of a range through the whole chain; what belongs together is one entry. */
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
  // Clusters that were only reserved, by a preallocation, are holes in the file.
  for (const { offset, length: part, isHole } of fileParts(file, fileOffset, length)) {
    yield { ...entry, start: start + offset - fileOffset, length: part, zero: isHole, offset };
  }
}

/** The last sector of a raw disk may be in the file in part. */
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
