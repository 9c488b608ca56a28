/** bzImage: the kernel's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". */
import { type ImageSource, invalidKernel, readU64 } from './boot-file.ts';

export type CompressionFormat = 'gzip' | 'xz' | 'lzma' | 'bzip2' | 'lzo' | 'lz4' | 'zstd';

/** The compressed kernel inside a bzImage. Offsets are from the start of the file. */
export interface BzImagePayload {
  /** `none`: an uncompressed ELF file. */
  readonly format: CompressionFormat | 'none';
  readonly fileOffset: number;
  /** Length in bytes, without the unpacked size that the kernel's build appends. */
  readonly sizeBytes: number;
  /** Unpacked length in bytes according to the image, at most {@link UNPACKED_SIZE_MAX}. */
  readonly unpackedSizeBytes: number;
}

export interface BzImage {
  /** The setup header, from file offset 0x1f1 to its end. */
  readonly setupHeader: Uint8Array;
  /** Boot protocol version, `(major << 8) + minor`. */
  readonly version: number;
  /** Largest command line in bytes, without the final NUL. */
  readonly commandLineMaxBytes: number;
  /** Highest address for the last byte of an initrd. */
  readonly initrdAddressMax: number;
  /** XLF_CAN_BE_LOADED_ABOVE_4G: {@link initrdAddressMax} is no limit. */
  readonly initrdAnywhere: boolean;
  /** Absent when the host cannot unpack it, and in programs that are no compressed kernel. */
  readonly payload?: BzImagePayload;
  /** Why the host cannot unpack the payload. */
  readonly payloadProblem?: string;
  /** The protected-mode code, which for Linux is its decompressor. */
  readonly code: ProtectedModeCode;
}

export interface ProtectedModeCode {
  readonly fileOffset: number;
  readonly sizeBytes: number;
  /** Load address. The 32-bit entry point is here, the 64-bit one at offset {@link STARTUP_64_OFFSET}. */
  readonly gpa: number;
  /** Bytes of memory that it uses from `gpa`, at least `sizeBytes`. */
  readonly memSizeBytes: number;
  /** It has a 64-bit entry (XLF_KERNEL_64). */
  readonly has64BitEntry: boolean;
  /** What it unpacks or runs is a 32-bit kernel: it states its entries, without a 64-bit one. */
  readonly is32BitOnly: boolean;
}

/** Offset of `startup_64` in protected-mode code: boot.rst, "64-bit Boot Protocol". */
export const STARTUP_64_OFFSET = 0x200;

/** Largest kernel that is unpacked: the kernel text mapping is 512 MiB, or 1 GiB with KASLR. */
export const UNPACKED_SIZE_MAX = 2 ** 30;

/** Offset of `setup_sects`, the first field of the setup header. */
export const SETUP_HEADER_OFFSET = 0x1f1;
const JUMP_OFFSET = 0x200;
const HEADER_OFFSET = 0x202;
/** End of the setup header's space in the zero page (`struct boot_params`, edd_mbr_sig_buffer). */
const SETUP_HEADER_END_MAX = 0x290;

const HDRS_MAGIC = 0x53726448;
const BOOT_FLAG = 0xaa55;
const JUMP_SHORT = 0xeb;
const SECTOR_SIZE = 512;
const LOADED_HIGH = 1 << 0;
/** Load address of LOADED_HIGH code without a preferred address. */
const LOADED_HIGH_GPA = 0x100000;
const XLF_KERNEL_64 = 1 << 0;
const XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1;

const VERSION_PAYLOAD = 0x0208;
const VERSION_INIT_SIZE = 0x020a;
const VERSION_XLOADFLAGS = 0x020c;

/** Magic bytes of each format, in hexadecimal. */
const MAGICS: readonly (readonly [string, BzImagePayload['format']])[] = [
  ['1f8b08', 'gzip'],
  ['fd377a585a00', 'xz'],
  ['5d0000', 'lzma'],
  ['425a68', 'bzip2'],
  ['894c5a4f000d0a1a0a', 'lzo'],
  ['02214c18', 'lz4'],
  ['04224d18', 'lz4'],
  ['28b52ffd', 'zstd'],
  ['7f454c46', 'none'],
];
const MAGIC_SIZE_MAX = 9;

/** True when the image has the setup header's magic number. */
export function isBzImage(image: ImageSource): boolean {
  if (image.sizeBytes < HEADER_OFFSET + 4) return false;
  return image.read(HEADER_OFFSET, 4, 'header').getUint32(0, true) === HDRS_MAGIC;
}

/**
 * Reads and checks the setup header and finds the payload.
 * @throws TsvmError `invalid-kernel` naming the invalid field
 */
export function parseBzImage(image: ImageSource): BzImage {
  const header = readSetupHeader(image);
  const u32 = (fieldOffset: number) => header.getUint32(fieldOffset - SETUP_HEADER_OFFSET, true);
  const version = header.getUint16(0x206 - SETUP_HEADER_OFFSET, true);
  const setupSectors = header.getUint8(0x1f1 - SETUP_HEADER_OFFSET) || 4;
  const codeOffset = (setupSectors + 1) * SECTOR_SIZE;
  const codeSize = u32(0x1f4) * 16;
  if (codeOffset >= image.sizeBytes) {
    throw invalidKernel(
      image,
      'setup_sects',
      `the setup ends at ${codeOffset}, the file at ${image.sizeBytes}`,
    );
  }
  // The last of the 16-byte paragraphs may be incomplete.
  if (codeOffset + codeSize - 15 > image.sizeBytes) {
    throw invalidKernel(
      image,
      'syssize',
      `the code ends at ${codeOffset + codeSize}, the file at ${image.sizeBytes}`,
    );
  }
  const initSize = version >= VERSION_INIT_SIZE ? u32(0x260) : 0;
  const loadFlags = version >= VERSION_XLOADFLAGS ? u32(0x236) & 0xffff : 0;
  const code = findCode(image, header, codeOffset, version, loadFlags);
  const found = findPayload(image, codeOffset, u32(0x248), u32(0x24c), initSize);
  return {
    setupHeader: new Uint8Array(header.buffer, header.byteOffset, header.byteLength),
    version,
    commandLineMaxBytes: u32(0x238),
    initrdAddressMax: u32(0x22c),
    initrdAnywhere: (loadFlags & XLF_CAN_BE_LOADED_ABOVE_4G) !== 0,
    ...(typeof found === 'string' ? { payloadProblem: found } : found && { payload: found }),
    code,
  };
}

function readSetupHeader(image: ImageSource): DataView {
  const jump = image.read(JUMP_OFFSET, 8, 'jump, header and version');
  const magic = jump.getUint32(2, true);
  if (magic !== HDRS_MAGIC) {
    throw invalidKernel(image, 'header', `0x${magic.toString(16)} where "HdrS" is 0x53726448`);
  }
  const bootFlag = image.read(0x1fe, 2, 'boot_flag').getUint16(0, true);
  if (bootFlag !== BOOT_FLAG) {
    throw invalidKernel(image, 'boot_flag', `0x${bootFlag.toString(16)} where 0xaa55 is due`);
  }
  const version = jump.getUint16(6, true);
  if (version < VERSION_PAYLOAD) {
    throw invalidKernel(
      image,
      'version',
      `boot protocol ${versionText(version)} is older than 2.08 (Linux 2.6.26), the oldest supported; ` +
        'programs with it, such as iPXE, start in 16-bit code that calls a BIOS, which tsvm does not have: ' +
        'pass the kernel that they would load',
    );
  }
  // The operand of the jump over the header is the header's length.
  const end = HEADER_OFFSET + jump.getUint8(1);
  const endMin = version >= VERSION_INIT_SIZE ? 0x264 : 0x250;
  if (jump.getUint8(0) !== JUMP_SHORT || end < endMin || end > SETUP_HEADER_END_MAX) {
    throw invalidKernel(
      image,
      'jump',
      `the header ends at 0x${end.toString(16)}, but version ${versionText(version)} needs ` +
        `0x${endMin.toString(16)} to 0x${SETUP_HEADER_END_MAX.toString(16)}`,
    );
  }
  const header = image.read(SETUP_HEADER_OFFSET, end - SETUP_HEADER_OFFSET, 'setup header');
  if (!(header.getUint8(0x211 - SETUP_HEADER_OFFSET) & LOADED_HIGH)) {
    throw invalidKernel(image, 'loadflags', 'LOADED_HIGH is clear: zImage is not supported');
  }
  return header;
}

/** @returns the payload, or the reason why the host cannot unpack it; undefined: there is none */
function findPayload(
  image: ImageSource,
  codeOffset: number,
  payloadOffset: number,
  payloadLength: number,
  initSize: number,
): BzImagePayload | string | undefined {
  if (payloadOffset === 0) return undefined;
  const fileOffset = codeOffset + payloadOffset;
  if (fileOffset >= image.sizeBytes) {
    throw invalidKernel(
      image,
      'payload_offset',
      `the payload starts at ${fileOffset}, the file ends at ${image.sizeBytes}`,
    );
  }
  if (fileOffset + payloadLength > image.sizeBytes) {
    throw invalidKernel(
      image,
      'payload_length',
      `the payload ends at ${fileOffset + payloadLength}, the file at ${image.sizeBytes}`,
    );
  }
  if (payloadLength < MAGIC_SIZE_MAX + 4) {
    throw invalidKernel(image, 'payload_length', `${payloadLength} bytes cannot hold a kernel`);
  }
  const start = firstBytes(image, fileOffset);
  const format = MAGICS.find(([magic]) => start.startsWith(magic))?.[1];
  if (format === undefined) return `unknown payload format, magic bytes ${start}`;
  if (format === 'none') {
    return { format, fileOffset, sizeBytes: payloadLength, unpackedSizeBytes: payloadLength };
  }
  // The kernel's build appends the unpacked size, except to gzip, whose trailer has it.
  const unpackedSizeBytes = image
    .read(fileOffset + payloadLength - 4, 4, 'payload_length')
    .getUint32(0, true);
  const sizeBytes = format === 'gzip' ? payloadLength : payloadLength - 4;
  // The kernel's own decompressor works within init_size, so a larger size must be wrong.
  const sizeMax = Math.min(initSize || UNPACKED_SIZE_MAX, UNPACKED_SIZE_MAX);
  if (unpackedSizeBytes === 0 || unpackedSizeBytes > sizeMax) {
    throw invalidKernel(
      image,
      'unpacked size at the end of the payload',
      `${unpackedSizeBytes} bytes is outside 1..${sizeMax}${initSize ? ' (init_size)' : ''}`,
    );
  }
  return { format, fileOffset, sizeBytes, unpackedSizeBytes };
}

/** The format of a kernel that is compressed as a whole; undefined for other files. */
export function packedKernelFormat(image: ImageSource): CompressionFormat | undefined {
  if (image.sizeBytes < MAGIC_SIZE_MAX) return undefined;
  const start = firstBytes(image, 0);
  const format = MAGICS.find(([magic]) => start.startsWith(magic))?.[1];
  return format === 'none' ? undefined : format;
}

function firstBytes(image: ImageSource, fileOffset: number): string {
  const view = image.read(fileOffset, MAGIC_SIZE_MAX, 'payload_offset');
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('hex');
}

function findCode(
  image: ImageSource,
  header: DataView,
  codeOffset: number,
  version: number,
  loadFlags: number,
): ProtectedModeCode {
  const sizeBytes = image.sizeBytes - codeOffset;
  const has64BitEntry = (loadFlags & XLF_KERNEL_64) !== 0;
  if (has64BitEntry && sizeBytes <= STARTUP_64_OFFSET) {
    throw invalidKernel(
      image,
      'xloadflags',
      'XLF_KERNEL_64 is set, but the 64-bit code is missing',
    );
  }
  const is32BitOnly = !has64BitEntry && version >= VERSION_XLOADFLAGS;
  const code = { fileOffset: codeOffset, sizeBytes, has64BitEntry, is32BitOnly };
  if (version < VERSION_INIT_SIZE) {
    return { ...code, gpa: LOADED_HIGH_GPA, memSizeBytes: sizeBytes };
  }
  const preferred = readU64(image, header, 0x258 - SETUP_HEADER_OFFSET, 'pref_address');
  const gpa = preferred || LOADED_HIGH_GPA;
  const initSize = header.getUint32(0x260 - SETUP_HEADER_OFFSET, true);
  const windowStart = runtimeStart(image, header, gpa);
  return { ...code, gpa, memSizeBytes: Math.max(windowStart - gpa + initSize, sizeBytes) };
}

/** Address at which a kernel loaded at `gpa` runs: boot.rst, `init_size`. */
function runtimeStart(image: ImageSource, header: DataView, gpa: number): number {
  if (header.getUint8(0x234 - SETUP_HEADER_OFFSET) === 0) return gpa;
  const alignment = header.getUint32(0x230 - SETUP_HEADER_OFFSET, true);
  if (alignment === 0 || (alignment & (alignment - 1)) !== 0) {
    throw invalidKernel(image, 'kernel_alignment', `${alignment} is not a power of two`);
  }
  return Math.ceil(gpa / alignment) * alignment;
}

function versionText(version: number): string {
  return `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
}
