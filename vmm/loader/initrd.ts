/** The initial RAM disk: boot.rst, `ramdisk_image` and `initrd_addr_max`. */
import { TsvmError } from '../errors.ts';
import { notAnInitrd } from './file-kind.ts';
import { ImageFile } from './image-file.ts';
import { type LoadSpace, PAGE_SIZE, type PlacementPiece, planPlacement } from './placement.ts';

/** Memory that an initrd must keep clear of, and how high the kernel can reach it. */
export interface InitrdLimits {
  /** First address of the kernel. */
  readonly kernelStartGpa: number;
  /** First address past the kernel and all it uses before it reads its memory map. */
  readonly kernelEndGpa: number;
  /** Highest address of the initrd's last byte. */
  readonly initrdAddressMax: number;
  /** What does not fit below it may be above it. */
  readonly initrdAnywhere: boolean;
}

export interface LoadedInitrd {
  readonly image: ImageFile;
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly pieces: readonly PlacementPiece[];
  /** A sentence for the log, when the kernel will hardly make anything of the file. */
  readonly warning?: string;
}

/** The highest page-aligned place in `gaps`, in their order. */
function placeIn(gaps: readonly { start: number; end: number }[], sizeBytes: number) {
  for (const gap of gaps) {
    const gpa = Math.floor((gap.end - sizeBytes) / PAGE_SIZE) * PAGE_SIZE;
    if (gpa >= gap.start) return gpa;
  }
  return undefined;
}

/** Memory below `end` that the kernel leaves: above it, then below it. */
function gapsBelow(end: number, limits: InitrdLimits, space: LoadSpace) {
  return [
    { start: limits.kernelEndGpa, end },
    { start: space.startGpa, end: Math.min(limits.kernelStartGpa, end) },
  ];
}

/**
 * The address for an initrd: page-aligned and as high as can be, above the kernel if there is room.
 * @throws TsvmError `initrd-does-not-fit`
 */
export function placeInitrd(sizeBytes: number, limits: InitrdLimits, space: LoadSpace): number {
  const kernelEnd = Math.min(limits.initrdAddressMax + 1, space.endGpa);
  const ends = limits.initrdAnywhere ? [kernelEnd, space.endGpa] : [kernelEnd];
  for (const end of ends) {
    const gpa = placeIn(gapsBelow(end, limits, space), sizeBytes);
    if (gpa !== undefined) return gpa;
  }
  const end = Math.max(...ends);
  const room = Math.max(0, ...gapsBelow(end, limits, space).map((gap) => gap.end - gap.start));
  // More memory helps as long as the end is the memory's, not the kernel's or the device hole's.
  const memoryHelps = end === space.endGpa && end < space.endGpaMax;
  const limit =
    end === space.endGpa ? 'the device hole is there' : 'this kernel reaches no further';
  throw new TsvmError(
    'initrd-does-not-fit',
    `an initrd of ${sizeBytes} bytes does not fit in guest memory: the kernel leaves ${room} bytes ` +
      `below 0x${end.toString(16)}` +
      (memoryHelps
        ? '; give the guest more memory or a smaller initrd'
        : `, and ${limit}; give it a smaller initrd, or what is in it on a disk`),
  );
}

/**
 * Opens an initrd and plans its place. The caller closes `image`.
 * @throws TsvmError `file-unreadable`, `invalid-config` (empty) or `initrd-does-not-fit`
 */
export function loadInitrd(path: string, limits: InitrdLimits, space: LoadSpace): LoadedInitrd {
  const image = new ImageFile(path);
  const { sizeBytes } = image;
  try {
    if (sizeBytes === 0) throw new TsvmError('invalid-config', `the initrd ${path} is empty`);
    const gpa = placeInitrd(sizeBytes, limits, space);
    const placement = {
      gpa,
      memSizeBytes: sizeBytes,
      fileOffset: 0,
      fileSizeBytes: sizeBytes,
    };
    const pieces = planPlacement(placement, 'user');
    const problem = notAnInitrd(image);
    const warning = `the initrd ${path} looks like none (${problem}): the kernel may not find an init`;
    return { image, gpa, sizeBytes, pieces, ...(problem !== undefined && { warning }) };
  } catch (error) {
    image.close();
    throw error;
  }
}
