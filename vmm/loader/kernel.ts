/** Plans how to load a kernel: its placement in guest memory and its entry point. */
import { TsvmError } from '../errors.ts';
import { BootFile, type BootImage, imagePart, invalidKernel } from './boot-file.ts';
import {
  type BzImage,
  type BzImagePayload,
  type CompressionFormat,
  isBzImage,
  packedKernelFormat,
  parseBzImage,
  STARTUP_64_OFFSET,
} from './bzimage.ts';
import { type ElfImage, isElf, parseElf } from './elf.ts';
import { notAKernel } from './file-kind.ts';
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
   * 64-bit Linux boot protocol: long mode, RSI = zero page. `setupHeader` is the bzImage's, starting
   * at setup_sects; a vmlinux has none. `codeGpa` is the load address of the bzImage's
   * protected-mode code when the kernel unpacks itself.
   */
  | {
      readonly protocol: 'linux64';
      readonly rip: number;
      readonly setupHeader?: Uint8Array;
      readonly codeGpa?: number;
    }
  /** 32-bit Linux boot protocol: protected mode without paging, ESI = zero page. */
  | {
      readonly protocol: 'linux32';
      readonly rip: number;
      readonly setupHeader: Uint8Array;
      readonly codeGpa: number;
      /** It is a 32-bit kernel: it never enters long mode. */
      readonly is32BitOnly: boolean;
    }
  /** PVH: 32-bit protected mode without paging, EBX = start info. */
  | {
      readonly protocol: 'pvh';
      readonly rip: number;
      /** It is a 32-bit file, which may go on to 64-bit mode or not. */
      readonly is32Bit: boolean;
    };

export interface LoadedKernel extends InitrdLimits {
  readonly entry: KernelEntry;
  /** The file that `pieces` refer to. The caller closes it. */
  readonly image: BootImage;
  readonly pieces: readonly PlacementPiece[];
  /** Largest command line in bytes, without the NUL. */
  readonly commandLineMaxBytes: number;
  /** Log messages, for example that the kernel could not be cached. */
  readonly warnings: readonly string[];
}

export interface KernelLoadOptions {
  /** A file's path, or an image, which is closed with the kernel. */
  readonly from: string | BootImage;
  readonly space: LoadSpace;
  /** Cache directory for unpacked kernels, created if missing. Absent: nothing is cached. */
  readonly cacheDirectory?: string;
  /** Aborts the unpacking, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** initrd_addr_max for a kernel without a setup header: Linux's usual value. */
const INITRD_ADDRESS_MAX = 0x7fffffff;

/**
 * Opens a bzImage or an ELF kernel, which may be compressed, and plans its placement.
 * @throws TsvmError `file-unreadable`, `invalid-kernel` naming the invalid field,
 *   `cannot-decompress` when neither the host nor the image itself can unpack it, or
 *   `invalid-config` when the guest has too little memory
 */
export async function loadKernel(options: KernelLoadOptions): Promise<LoadedKernel> {
  const file = typeof options.from === 'string' ? new BootFile(options.from) : options.from;
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

async function planKernel(file: BootImage, options: KernelLoadOptions): Promise<LoadedKernel> {
  if (isElf(file)) return planElf(file, parseElf(file), options.space, 'user');
  if (isBzImage(file)) return planBzImage(file, parseBzImage(file), options);
  const format = packedKernelFormat(file);
  if (format === undefined) throw new TsvmError('invalid-kernel', notAKernel(file));
  return planPackedElf(file, format, options);
}

function planElf(file: BootImage, elf: ElfImage, space: LoadSpace, owner: FileOwner): LoadedKernel {
  const entry: KernelEntry =
    elf.pvhEntry === undefined
      ? { protocol: 'linux64', rip: linuxEntry(file, elf) }
      : { protocol: 'pvh', rip: elf.pvhEntry, is32Bit: elf.is32Bit };
  return {
    ...planParts(file, elf.segments, space, owner),
    entry,
    image: file,
    initrdAddressMax: INITRD_ADDRESS_MAX,
    // Supported by 64-bit Linux since 3.8; PVH notes are newer.
    initrdAnywhere: true,
    commandLineMaxBytes: COMMAND_LINE_MAX_BYTES,
    warnings: [],
  };
}

/** @throws TsvmError `invalid-kernel` */
function linuxEntry(image: BootImage, { entry }: ElfImage): number {
  if (entry !== undefined) return entry;
  throw invalidKernel(image, 'e_entry', 'it is in no PT_LOAD segment');
}

/** A file such as vmlinux.xz: an ELF kernel compressed as a whole. */
async function planPackedElf(
  file: BootImage,
  format: CompressionFormat,
  options: KernelLoadOptions,
): Promise<LoadedKernel> {
  const { openUnpackedKernel } = await import('./kernel-cache.ts');
  const whole = { format, fileOffset: 0, sizeBytes: file.sizeBytes, unpackedSizeBytes: undefined };
  const { image, elf, warning } = await openUnpackedKernel(file, whole, options);
  try {
    const kernel = planElf(image, elf, options.space, 'cache');
    return { ...kernel, warnings: warning === undefined ? [] : [warning] };
  } catch (error) {
    image.close();
    throw error;
  }
}

async function planBzImage(
  file: BootImage,
  bzImage: BzImage,
  options: KernelLoadOptions,
): Promise<LoadedKernel> {
  const { commandLineMaxBytes, initrdAddressMax, initrdAnywhere, payload, setupHeader } = bzImage;
  const common = { commandLineMaxBytes, initrdAddressMax, initrdAnywhere };
  if (payload === undefined || bzImage.code.is32BitOnly) {
    const { payloadProblem } = bzImage;
    const warnings = payloadProblem === undefined ? [] : [cannotUnpack(file, payloadProblem)];
    return { ...common, ...planOwnEntry(file, bzImage, options.space), warnings };
  }
  let unpacked: Awaited<ReturnType<typeof openPayload>>;
  try {
    unpacked = await openPayload(file, payload, options);
  } catch (error) {
    if (!(error instanceof TsvmError) || error.code !== 'cannot-decompress') throw error;
    const plan = planOwnEntry(file, bzImage, options.space);
    return { ...common, ...plan, warnings: [unpacksItself(error.message)] };
  }
  const { image, elf, warning } = unpacked;
  try {
    return {
      ...common,
      ...planParts(file, elf.segments, options.space, image === file ? 'user' : 'cache'),
      entry: { protocol: 'linux64', rip: linuxEntry(image, elf), setupHeader },
      image,
      warnings: warning === undefined ? [] : [warning],
    };
  } catch (error) {
    if (image !== file) image.close();
    throw error;
  }
}

/** Plans to enter the image's own code, which unpacks the kernel if there is one. */
function planOwnEntry(
  file: BootImage,
  { code, setupHeader }: BzImage,
  space: LoadSpace,
): Pick<LoadedKernel, 'entry' | 'image' | 'pieces' | 'kernelStartGpa' | 'kernelEndGpa'> {
  const { gpa: codeGpa, sizeBytes, has64BitEntry, is32BitOnly } = code;
  const entry: KernelEntry = has64BitEntry
    ? { protocol: 'linux64', rip: codeGpa + STARTUP_64_OFFSET, codeGpa, setupHeader }
    : { protocol: 'linux32', rip: codeGpa, codeGpa, setupHeader, is32BitOnly };
  const parts = [{ ...code, fileSizeBytes: sizeBytes }];
  return { ...planParts(file, parts, space, 'user'), entry, image: file };
}

function cannotUnpack(file: BootImage, problem: string): string {
  return unpacksItself(`this version of tsvm cannot unpack ${file.name}: ${problem}`);
}

function unpacksItself(problem: string): string {
  return `${problem}; until then the kernel unpacks itself, which takes longer`;
}

/** Opens the ELF kernel in a bzImage. Its offsets refer to the returned file. */
async function openPayload(
  file: BootImage,
  payload: BzImagePayload,
  options: Pick<KernelLoadOptions, 'cacheDirectory' | 'signal'>,
): Promise<{ image: BootImage; elf: ElfImage; warning?: string }> {
  const { format, fileOffset, sizeBytes } = payload;
  if (format !== 'none') {
    // Imported lazily: other kernels do not need these modules.
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
  file: BootImage,
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
