/** The initial RAM disk: boot.rst, `ramdisk_image` and `initrd_addr_max`. */
import { TsvmError } from '../errors.ts';
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
}

export interface LoadedInitrd {
  readonly image: ImageFile;
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly pieces: readonly PlacementPiece[];
}

/**
 * The address for an initrd: page-aligned and as high as can be, above the kernel if there is room.
 * @throws TsvmError `initrd-does-not-fit`
 */
export function placeInitrd(sizeBytes: number, limits: InitrdLimits, space: LoadSpace): number {
  const end = Math.min(limits.initrdAddressMax + 1, space.endGpa);
  const gaps = [
    { start: limits.kernelEndGpa, end },
    { start: space.startGpa, end: Math.min(limits.kernelStartGpa, end) },
  ];
  for (const gap of gaps) {
    const gpa = Math.floor((gap.end - sizeBytes) / PAGE_SIZE) * PAGE_SIZE;
    if (gpa >= gap.start) return gpa;
  }
  const room = Math.max(0, ...gaps.map((gap) => gap.end - gap.start));
  throw new TsvmError(
    'initrd-does-not-fit',
    `an initrd of ${sizeBytes} bytes does not fit in guest memory: the kernel leaves ${room} bytes ` +
      `below 0x${end.toString(16)}; give the guest more memory or a smaller initrd`,
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
    return { image, gpa, sizeBytes, pieces };
  } catch (error) {
    image.close();
    throw error;
  }
}
