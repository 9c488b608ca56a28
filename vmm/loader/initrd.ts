/** The initial RAM disk: boot.rst, `ramdisk_image` and `initrd_addr_max`. */
import { TsvmError } from '../errors.ts';
import { BootFile, type BootImage } from './boot-file.ts';
import { notAnInitrd } from './file-kind.ts';
import { type LoadSpace, PAGE_SIZE, type PlacementPiece, planPlacement } from './placement.ts';

/** Memory that the kernel occupies, and the highest address at which it can read an initrd. */
export interface InitrdLimits {
  /** Start of the kernel. */
  readonly kernelStartGpa: number;
  /** End (exclusive) of the kernel and of what it uses before it reads its memory map. */
  readonly kernelEndGpa: number;
  /** Highest address for the last byte of an initrd. */
  readonly initrdAddressMax: number;
  /** An initrd that does not fit below `initrdAddressMax` may be placed above it. */
  readonly initrdAnywhere: boolean;
}

export interface LoadedInitrd {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly parts: readonly {
    readonly image: BootImage;
    readonly pieces: readonly PlacementPiece[];
  }[];
  /** Log messages about files that do not look like an initrd. */
  readonly warnings: readonly string[];
  /** Closes the images. Idempotent. */
  close(): void;
}

/** The highest page-aligned address in the first gap that is large enough. */
function placeIn(gaps: readonly { start: number; end: number }[], sizeBytes: number) {
  for (const gap of gaps) {
    const gpa = Math.floor((gap.end - sizeBytes) / PAGE_SIZE) * PAGE_SIZE;
    if (gpa >= gap.start) return gpa;
  }
  return undefined;
}

/** The free memory below `end`: above the kernel, then below the kernel. */
function gapsBelow(end: number, limits: InitrdLimits, space: LoadSpace) {
  return [
    { start: limits.kernelEndGpa, end },
    { start: space.startGpa, end: Math.min(limits.kernelStartGpa, end) },
  ];
}

/**
 * Chooses the address of an initrd: page-aligned, above the kernel if it fits there, as high as
 * possible.
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
  // More memory helps only where the end of memory is the limit, not the kernel or the device hole.
  const memoryHelps = end === space.endGpa && end < space.endGpaMax;
  const limit =
    end === space.endGpa
      ? 'the device hole starts there'
      : 'this kernel cannot use higher addresses';
  throw new TsvmError(
    'initrd-does-not-fit',
    `an initrd of ${sizeBytes} bytes does not fit in guest memory: the kernel leaves ${room} bytes ` +
      `below 0x${end.toString(16)}` +
      (memoryHelps
        ? '; give the guest more memory or a smaller initrd'
        : `, and ${limit}; use a smaller initrd, or put its content on a disk`),
  );
}

/** The next multiple of {@link PAGE_SIZE}. */
function pageAlign(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
}

/**
 * Opens the files that form an initrd and plans their placement. Linux unpacks archives one after the
 * other and skips zeroes between them, so each file starts at a page.
 * @param sources paths of files, or images, which are closed with the initrd and on an error
 * @throws TsvmError `file-unreadable`, `invalid-config` (empty) or `initrd-does-not-fit`
 */
export function loadInitrd(
  sources: readonly (string | BootImage)[],
  limits: InitrdLimits,
  space: LoadSpace,
): LoadedInitrd {
  using opened = new DisposableStack();
  const images = sources.map((source) =>
    opened.adopt(typeof source === 'string' ? new BootFile(source) : source, (image) =>
      image.close(),
    ),
  );
  const empty = images.find(({ sizeBytes }) => sizeBytes === 0);
  if (empty) throw new TsvmError('invalid-config', `the initrd ${empty.name} is empty`);
  const starts: number[] = [];
  let sizeBytes = 0;
  for (const image of images) {
    starts.push(pageAlign(sizeBytes));
    sizeBytes = pageAlign(sizeBytes) + image.sizeBytes;
  }
  const gpa = placeInitrd(sizeBytes, limits, space);
  const parts = images.map((image, index) => {
    const placement = {
      gpa: gpa + (starts[index] ?? 0),
      memSizeBytes: image.sizeBytes,
      fileOffset: 0,
      fileSizeBytes: image.sizeBytes,
    };
    return { image, pieces: planPlacement(placement, 'user') };
  });
  const warnings = images.flatMap((image) => {
    const problem = notAnInitrd(image);
    return problem === undefined
      ? []
      : [
          `${image.name} does not look like an initrd (${problem}): the kernel may not find an init`,
        ];
  });
  const files = opened.move();
  return { gpa, sizeBytes, parts, warnings, close: () => files.dispose() };
}
