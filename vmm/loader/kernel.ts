/** From a kernel's file to a plan: what stands where in guest memory, and how it is entered. */
import { TsvmError } from '../errors.ts';
import {
  type BzImage,
  type BzImagePayload,
  isBzImage,
  parseBzImage,
  STARTUP_64_OFFSET,
} from './bzimage.ts';
import { type ElfImage, isElf, parseElf } from './elf.ts';
import { notAKernel } from './file-kind.ts';
import { ImageFile, imagePart } from './image-file.ts';
import type { InitrdLimits } from './initrd.ts';
import { COMMAND_LINE_MAX_BYTES } from './kernel-cmdline.ts';
import {
  checkPlacements,
  type FileOwner,
  type FilePlacement,
  type LoadSpace,
  type PlacementPiece,
  planPlacement,
} from './placement.ts';

/** How the boot vCPU enters the kernel. */
export type KernelEntry =
  /**
   * 64-bit Linux boot protocol: long mode, RSI = zero page. `setupHeader` is the bzImage's, from
   * its field setup_sects on; a bare vmlinux has none. `codeGpa` is where the bzImage's own
   * protected-mode code is loaded, when it is.
   */
  | {
      readonly protocol: 'linux64';
      readonly rip: number;
      readonly setupHeader?: Uint8Array;
      readonly codeGpa?: number;
    }
  /** PVH: 32-bit protected mode without paging, EBX = start info. */
  | { readonly protocol: 'pvh'; readonly rip: number };

export interface LoadedKernel extends InitrdLimits {
  readonly entry: KernelEntry;
  /** The open file that `pieces` take their bytes from. The caller closes it. */
  readonly image: ImageFile;
  readonly pieces: readonly PlacementPiece[];
  /** Largest command line in bytes, without the NUL. */
  readonly commandLineMaxBytes: number;
  /** Sentences for the log about what worked less well than it should. */
  readonly warnings: readonly string[];
}

export interface KernelLoadOptions {
  readonly path: string;
  readonly space: LoadSpace;
  /** Where unpacked kernels are kept. It is made when it is not there; without one none is kept. */
  readonly cacheDirectory?: string;
  /** Breaks off the unpacking: it rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Highest address of an initrd for a kernel without a setup header: what Linux has in its own. */
const INITRD_ADDRESS_MAX = 0x7fffffff;

/**
 * Opens a kernel, bzImage or ELF, and plans its place.
 * @throws TsvmError `file-unreadable`, `invalid-kernel` naming the field that is wrong,
 *   `cannot-decompress` when neither the host nor the image itself can unpack it, or
 *   `invalid-config` when the guest has too little memory
 */
export async function loadKernel(options: KernelLoadOptions): Promise<LoadedKernel> {
  const file = new ImageFile(options.path);
  let kernel: LoadedKernel;
  try {
    kernel = await planKernel(file, options);
  } catch (error) {
    file.close();
    throw error;
  }
  if (kernel.image !== file) file.close();
  return kernel;
}

async function planKernel(file: ImageFile, options: KernelLoadOptions): Promise<LoadedKernel> {
  if (isElf(file)) {
    const elf = parseElf(file);
    const entry: KernelEntry =
      elf.pvhEntry === undefined
        ? { protocol: 'linux64', rip: elf.entry }
        : { protocol: 'pvh', rip: elf.pvhEntry };
    return {
      ...planParts(file, elf.segments, options.space, 'user'),
      entry,
      image: file,
      initrdAddressMax: INITRD_ADDRESS_MAX,
      // What 64-bit Linux has done since 3.8, the oldest with a PVH note being newer still.
      initrdAnywhere: true,
      commandLineMaxBytes: COMMAND_LINE_MAX_BYTES,
      warnings: [],
    };
  }
  if (isBzImage(file)) return planBzImage(file, parseBzImage(file), options);
  throw new TsvmError('invalid-kernel', notAKernel(file));
}

async function planBzImage(
  file: ImageFile,
  bzImage: BzImage,
  options: KernelLoadOptions,
): Promise<LoadedKernel> {
  const { setupHeader, commandLineMaxBytes, initrdAddressMax, initrdAnywhere, payload } = bzImage;
  const common = { commandLineMaxBytes, initrdAddressMax, initrdAnywhere };
  let unpacked: Awaited<ReturnType<typeof openPayload>>;
  try {
    if (payload === undefined) throw unknownPayload(file, bzImage);
    unpacked = await openPayload(file, payload, options);
  } catch (error) {
    const unable = error instanceof TsvmError && error.code === 'cannot-decompress';
    const { selfUnpacking } = bzImage;
    if (!unable || selfUnpacking === undefined) throw error;
    const parts = [{ ...selfUnpacking, fileSizeBytes: selfUnpacking.sizeBytes }];
    const entry = { rip: selfUnpacking.gpa + STARTUP_64_OFFSET, codeGpa: selfUnpacking.gpa };
    return {
      ...common,
      ...planParts(file, parts, options.space, 'user'),
      entry: { protocol: 'linux64', ...entry, setupHeader },
      image: file,
      warnings: [`${error.message}; until then the kernel unpacks itself, which takes longer`],
    };
  }
  const { image, elf, warning } = unpacked;
  try {
    return {
      ...common,
      ...planParts(file, elf.segments, options.space, image === file ? 'user' : 'cache'),
      entry: { protocol: 'linux64', rip: elf.entry, setupHeader },
      image,
      warnings: warning === undefined ? [] : [warning],
    };
  } catch (error) {
    if (image !== file) image.close();
    throw error;
  }
}

function unknownPayload(file: ImageFile, { payloadProblem }: BzImage): TsvmError {
  return new TsvmError(
    'cannot-decompress',
    `${file.name} cannot be unpacked here (${payloadProblem}): a newer tsvm may know how`,
  );
}

/** The ELF kernel in a bzImage, with offsets in the file that is returned. */
async function openPayload(
  file: ImageFile,
  payload: BzImagePayload,
  options: Pick<KernelLoadOptions, 'cacheDirectory' | 'signal'>,
): Promise<{ image: ImageFile; elf: ElfImage; warning?: string }> {
  const { format, fileOffset, sizeBytes } = payload;
  if (format !== 'none') {
    // Only now: a kernel that is no bzImage starts without the modules that this one needs.
    const { openUnpackedKernel } = await import('./kernel-cache.ts');
    return openUnpackedKernel(file, { ...payload, format }, options);
  }
  const elf = parseElf(imagePart(file, fileOffset, sizeBytes));
  const segments = elf.segments.map((segment) => ({
    ...segment,
    fileOffset: segment.fileOffset + fileOffset,
  }));
  return { image: file, elf: { ...elf, segments } };
}

function planParts(
  file: ImageFile,
  parts: readonly FilePlacement[],
  space: LoadSpace,
  owner: FileOwner,
): Pick<LoadedKernel, 'pieces' | 'kernelStartGpa' | 'kernelEndGpa'> {
  checkPlacements(file.name, parts, space);
  return {
    pieces: parts.flatMap((part) => planPlacement(part, owner)),
    kernelStartGpa: Math.min(...parts.map((part) => part.gpa)),
    kernelEndGpa: Math.max(...parts.map((part) => part.gpa + part.memSizeBytes)),
  };
}
