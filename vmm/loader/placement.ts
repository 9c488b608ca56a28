/** Places parts of a file in guest memory: mapped where possible, otherwise copied. */
import { TsvmError } from '../errors.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { BootImage } from './boot-file.ts';

/** Granularity of a mapping. */
export const PAGE_SIZE = 0x1000;

const COPY_CHUNK_BYTES = 2 ** 20;

/** A part of a file to be placed at `gpa`, followed by zeroes up to `memSizeBytes`. */
export interface FilePlacement {
  readonly gpa: number;
  readonly memSizeBytes: number;
  readonly fileOffset: number;
  /** At most `memSizeBytes`. */
  readonly fileSizeBytes: number;
}

/** One step of a placement. Pieces never overlap. */
export type PlacementPiece =
  /** Whole pages: gpa, length and offset are multiples of {@link PAGE_SIZE}. */
  | {
      readonly kind: 'map';
      readonly gpa: number;
      readonly lengthBytes: number;
      readonly fileOffset: number;
    }
  | {
      readonly kind: 'copy';
      readonly gpa: number;
      readonly lengthBytes: number;
      readonly fileOffset: number;
    }
  /** Nothing to do in fresh guest memory, which is zero. */
  | { readonly kind: 'zero'; readonly gpa: number; readonly lengthBytes: number };

/** Guest-physical address range for the kernel and the initrd. */
export interface LoadSpace {
  /** End (exclusive) of the boot data in low memory. */
  readonly startGpa: number;
  /** End (exclusive) of the RAM below the device hole. */
  readonly endGpa: number;
  /** Start of the device hole, the largest possible `endGpa`. */
  readonly endGpaMax: number;
}

/** Maps a file over guest memory, copy-on-write. All numbers are multiples of {@link PAGE_SIZE}. */
export interface FileMapper {
  mapFile(gpa: number, lengthBytes: number, fd: number, fileOffset: number): void;
}

/** Who may change the file while a guest runs. */
export type FileOwner =
  /** Nobody: a file in tsvm's cache may be mapped. */
  | 'cache'
  /**
   * The user. The file must be copied: if it were mapped, writing to it would change guest memory,
   * and truncating it would kill tsvm with SIGBUS.
   */
  | 'user';

/**
 * Splits a placement into pieces. Only pages that the part of the file covers completely are mapped,
 * so that a mapping overwrites no neighbouring part and exposes no later bytes of the file.
 */
export function planPlacement(placement: FilePlacement, owner: FileOwner): PlacementPiece[] {
  const { gpa, fileOffset } = placement;
  const fileEnd = gpa + placement.fileSizeBytes;
  const mappable = owner === 'cache' && (gpa - fileOffset) % PAGE_SIZE === 0;
  const firstPage = mappable ? Math.ceil(gpa / PAGE_SIZE) * PAGE_SIZE : fileEnd;
  const mapEnd = Math.floor(fileEnd / PAGE_SIZE) * PAGE_SIZE;

  const pieces: PlacementPiece[] = [];
  const add = (kind: 'map' | 'copy', start: number, end: number): void => {
    if (end <= start) return;
    pieces.push({
      kind,
      gpa: start,
      lengthBytes: end - start,
      fileOffset: fileOffset + start - gpa,
    });
  };
  if (firstPage < mapEnd) {
    add('copy', gpa, firstPage);
    add('map', firstPage, mapEnd);
    add('copy', mapEnd, fileEnd);
  } else {
    add('copy', gpa, fileEnd);
  }
  const zeroes = placement.memSizeBytes - placement.fileSizeBytes;
  if (zeroes > 0) pieces.push({ kind: 'zero', gpa: fileEnd, lengthBytes: zeroes });
  return pieces;
}

/**
 * Checks that the parts of a kernel are within usable RAM and do not overlap.
 * @param name the kernel's path, for error messages
 * @throws TsvmError `invalid-kernel`, or `invalid-config` when only more memory is missing
 */
export function checkPlacements(
  name: string,
  placements: readonly FilePlacement[],
  space: LoadSpace,
): void {
  const sorted = [...placements].sort((a, b) => a.gpa - b.gpa);
  let previousEnd = 0;
  for (const { gpa, memSizeBytes } of sorted) {
    const end = gpa + memSizeBytes;
    const range = `p_paddr ${hex(gpa)}..${hex(end)}`;
    if (gpa < space.startGpa) {
      throw new TsvmError(
        'invalid-kernel',
        `${name}: ${range} overlaps the boot data below ${hex(space.startGpa)}`,
      );
    }
    if (end > space.endGpaMax) {
      throw new TsvmError(
        'invalid-kernel',
        `${name}: ${range} overlaps the device hole at ${hex(space.endGpaMax)}`,
      );
    }
    if (gpa < previousEnd) {
      throw new TsvmError('invalid-kernel', `${name}: ${range} overlaps the previous segment`);
    }
    previousEnd = end;
  }
  if (previousEnd > space.endGpa) {
    const needMib = Math.ceil(previousEnd / 2 ** 20);
    throw new TsvmError(
      'invalid-config',
      `${name} needs memory up to ${hex(previousEnd)}, the guest has ${hex(space.endGpa)}: ` +
        `give the guest more than ${needMib} MiB`,
    );
  }
}

/**
 * Maps or copies the pieces into fresh guest memory.
 * @param mapper undefined: nothing can be mapped over this memory, so everything is copied
 * @throws TsvmError `file-unreadable` when the file cannot be read
 */
export function placePieces(
  pieces: readonly PlacementPiece[],
  image: BootImage,
  memory: GuestMemory,
  mapper: FileMapper | undefined,
): void {
  for (const piece of pieces) {
    if (piece.kind === 'map' && mapper !== undefined && image.fd !== undefined) {
      mapper.mapFile(piece.gpa, piece.lengthBytes, image.fd, piece.fileOffset);
    } else if (piece.kind !== 'zero') {
      copyFile(image, piece.fileOffset, piece.lengthBytes, memory, piece.gpa);
    }
  }
}

function copyFile(
  image: BootImage,
  fileOffset: number,
  lengthBytes: number,
  memory: GuestMemory,
  gpa: number,
): void {
  const chunk = new Uint8Array(Math.min(COPY_CHUNK_BYTES, lengthBytes));
  for (let done = 0; done < lengthBytes; done += chunk.byteLength) {
    const part = chunk.subarray(0, lengthBytes - done);
    image.readInto(part, fileOffset + done);
    memory.write(gpa + done, part);
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
