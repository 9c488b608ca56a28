/** ELF kernels for x86-64 and x86: System V ABI, "ELF Header", "Program Header", "Note Section". */
import { checkRange, type ImageSource, invalidKernel, readU64 } from './boot-file.ts';

/** A PT_LOAD program header. Its file range is within the image; its address is not checked. */
export interface ElfSegment {
  /** p_offset */
  readonly fileOffset: number;
  /** p_filesz, at most `memSizeBytes` */
  readonly fileSizeBytes: number;
  /** p_paddr */
  readonly gpa: number;
  /** p_memsz, above 0; bytes past p_filesz are zero */
  readonly memSizeBytes: number;
}

export interface ElfImage {
  /** ELFCLASS32: then there is a `pvhEntry`. */
  readonly is32Bit: boolean;
  /** e_entry, if that is a guest-physical address within a segment, as Linux's is. */
  readonly entry?: number;
  /** At least one. */
  readonly segments: readonly ElfSegment[];
  /** The 32-bit entry point from a PVH note. It is within a segment. Without one, there is `entry`. */
  readonly pvhEntry?: number;
}

/** Sizes of the headers, and where their fields are. */
interface ElfClass {
  readonly name: string;
  readonly machine: number;
  readonly ehdrSize: number;
  readonly phdrSize: number;
  readonly ehdr: { readonly phoff: number; readonly phentsize: number };
  readonly phdr: {
    readonly offset: number;
    readonly paddr: number;
    readonly filesz: number;
    readonly memsz: number;
    readonly align: number;
  };
  /** Reads an address, an offset or a size. */
  readonly word: typeof readU64;
}

const EM_386 = 3;
const EM_X86_64 = 62;

const ELF64: ElfClass = {
  name: 'ELF64',
  machine: EM_X86_64,
  ehdrSize: 64,
  phdrSize: 56,
  ehdr: { phoff: 32, phentsize: 54 },
  phdr: { offset: 8, paddr: 24, filesz: 32, memsz: 40, align: 48 },
  word: readU64,
};
const ELF32: ElfClass = {
  name: 'ELF32',
  machine: EM_386,
  ehdrSize: 52,
  phdrSize: 32,
  ehdr: { phoff: 28, phentsize: 42 },
  phdr: { offset: 4, paddr: 12, filesz: 16, memsz: 20, align: 28 },
  word: (_image, view, offset) => view.getUint32(offset, true),
};
/** By EI_CLASS. */
const CLASSES: Readonly<Record<number, ElfClass>> = { 1: ELF32, 2: ELF64 };
const IDENTITY_SIZE = 16;
const E_TYPE = 16;
const E_MACHINE = 18;
const E_ENTRY = 24;

/** Linux has 5. The limit bounds the work that a hostile image can cause. */
const PHDRS_MAX = 128;
/** Bytes. Linux's notes take a few hundred. */
const NOTE_SEGMENT_SIZE_MAX = 0x10000;

const ELF_MAGIC = 0x7f454c46;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PT_NOTE = 4;

/** Multiboot 1 (0.6.96, section 3.1.1) and 2 (2.0, section 3.1.1): magic, alignment, search length. */
const MULTIBOOT_HEADERS = [
  { magic: 0x1badb002, alignment: 4, searchBytes: 8192, words: 3 },
  { magic: 0xe85250d6, alignment: 8, searchBytes: 32768, words: 4 },
];

/** Xen's `elfnote.h`: the 32-bit physical entry point of PVH. */
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
/** "Xen\0", big-endian. */
const XEN_NOTE_NAME = 0x58656e00;

/** True when the image starts with the ELF magic number. */
export function isElf(image: ImageSource): boolean {
  return image.sizeBytes >= 4 && image.read(0, 4, 'e_ident').getUint32(0) === ELF_MAGIC;
}

/**
 * Reads and checks the headers of a kernel.
 * @throws TsvmError `invalid-kernel` naming the invalid field
 */
export function parseElf(image: ImageSource): ElfImage {
  const elfClass = classOf(image);
  const ehdr = image.read(0, elfClass.ehdrSize, 'ELF header');
  checkIdentity(image, ehdr, elfClass);
  // Often a virtual address, beyond what a number holds exactly: then it is in no segment either.
  const entry = Number(
    elfClass === ELF64 ? ehdr.getBigUint64(E_ENTRY, true) : ehdr.getUint32(E_ENTRY, true),
  );
  const phdrs = readProgramHeaders(image, ehdr, elfClass);

  const segments: ElfSegment[] = [];
  let pvhEntry: number | undefined;
  phdrs.forEach((phdr, index) => {
    const type = phdr.getUint32(0, true);
    if (type === PT_LOAD) {
      const segment = parseSegment(image, phdr, index, elfClass);
      if (segment.memSizeBytes > 0) segments.push(segment);
    } else if (type === PT_NOTE) {
      pvhEntry ??= findPvhEntry(image, phdr, index, elfClass);
    } else if (type === PT_INTERP) {
      throw invalidKernel(image, 'PT_INTERP', 'it is a program that runs on Linux, not a kernel');
    }
  });
  if (segments.length === 0) throw invalidKernel(image, 'e_phnum', 'there is no PT_LOAD segment');
  if (pvhEntry === undefined) {
    checkOtherEntry(image, elfClass);
    checkEntry(image, 'e_entry', entry, segments);
    return { is32Bit: false, entry, segments };
  }
  checkEntry(image, 'XEN_ELFNOTE_PHYS32_ENTRY', pvhEntry, segments);
  const is32Bit = elfClass === ELF32;
  return { is32Bit, ...(isInside(entry, segments) && { entry }), segments, pvhEntry };
}

/**
 * Without a PVH note, only a 64-bit Linux can be entered: others would fault at once with its entry
 * state.
 * @throws TsvmError `invalid-kernel`
 */
function checkOtherEntry(image: ImageSource, elfClass: ElfClass): void {
  if (isMultiboot(image)) {
    throw invalidKernel(
      image,
      'Multiboot header',
      'it is a Multiboot kernel without a PVH note; use a Linux kernel, or one with a PVH note',
    );
  }
  if (elfClass === ELF64) return;
  throw invalidKernel(
    image,
    'EI_CLASS',
    'it is a 32-bit file without a PVH note; of a 32-bit Linux, pass the bzImage (vmlinuz)',
  );
}

/** @throws TsvmError `invalid-kernel` */
function classOf(image: ImageSource): ElfClass {
  const value = image.read(0, IDENTITY_SIZE, 'ELF header').getUint8(4);
  const elfClass = CLASSES[value];
  if (elfClass === undefined) {
    throw invalidKernel(image, 'EI_CLASS', `${value} is neither 1 (32-bit) nor 2 (64-bit)`);
  }
  return elfClass;
}

/** Meanings of unsupported field values. */
const MEANINGS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  EI_DATA: { 2: 'big-endian' },
  e_type: { 1: 'an object file or a kernel module', 4: 'a memory dump' },
  e_machine: {
    8: 'for MIPS',
    21: 'for PowerPC',
    22: 'for s390',
    40: 'for 32-bit ARM',
    183: 'for AArch64',
    243: 'for RISC-V',
    258: 'for LoongArch',
  },
};

function checkIdentity(image: ImageSource, ehdr: DataView, { machine }: ElfClass): void {
  const expect = (field: string, value: number, ...allowed: number[]): void => {
    if (allowed.includes(value)) return;
    const meaning = MEANINGS[field]?.[value];
    const problem = `${value} instead of ${allowed[0]}, the value of an x86 kernel`;
    throw invalidKernel(image, field, meaning ? `${problem}: it is ${meaning}` : problem);
  };
  expect('EI_MAG', ehdr.getUint32(0), ELF_MAGIC);
  expect('EI_DATA', ehdr.getUint8(5), ELFDATA2LSB);
  expect('e_type', ehdr.getUint16(E_TYPE, true), ET_EXEC, ET_DYN);
  expect('e_machine', ehdr.getUint16(E_MACHINE, true), machine);
}

function readProgramHeaders(image: ImageSource, ehdr: DataView, elfClass: ElfClass): DataView[] {
  const { phdrSize, ehdr: at } = elfClass;
  const tableOffset = elfClass.word(image, ehdr, at.phoff, 'e_phoff');
  const entrySize = ehdr.getUint16(at.phentsize, true);
  const count = ehdr.getUint16(at.phentsize + 2, true);
  if (entrySize !== phdrSize) {
    throw invalidKernel(
      image,
      'e_phentsize',
      `${entrySize} where ${elfClass.name} has ${phdrSize}`,
    );
  }
  if (count > PHDRS_MAX) {
    throw invalidKernel(image, 'e_phnum', `${count} is above the limit of ${PHDRS_MAX}`);
  }
  const table = image.read(tableOffset, count * phdrSize, 'e_phoff');
  return Array.from(
    { length: count },
    (_, index) => new DataView(table.buffer, table.byteOffset + index * phdrSize, phdrSize),
  );
}

function parseSegment(
  image: ImageSource,
  phdr: DataView,
  index: number,
  { word, phdr: at }: ElfClass,
): ElfSegment {
  const field = (name: string) => `program header ${index}, ${name}`;
  const fileOffset = word(image, phdr, at.offset, field('p_offset'));
  const gpa = word(image, phdr, at.paddr, field('p_paddr'));
  const fileSizeBytes = word(image, phdr, at.filesz, field('p_filesz'));
  const memSizeBytes = word(image, phdr, at.memsz, field('p_memsz'));
  checkRange(image, fileOffset, fileSizeBytes, field('p_offset + p_filesz'));
  if (fileSizeBytes > memSizeBytes) {
    throw invalidKernel(
      image,
      field('p_filesz'),
      `${fileSizeBytes} is above p_memsz, ${memSizeBytes}`,
    );
  }
  if (!Number.isSafeInteger(gpa + memSizeBytes)) {
    throw invalidKernel(
      image,
      field('p_paddr + p_memsz'),
      `${gpa} + ${memSizeBytes} is out of range`,
    );
  }
  return { fileOffset, fileSizeBytes, gpa, memSizeBytes };
}

function findPvhEntry(
  image: ImageSource,
  phdr: DataView,
  index: number,
  { word, phdr: at }: ElfClass,
): number | undefined {
  const field = (name: string) => `note segment in program header ${index}, ${name}`;
  const fileOffset = word(image, phdr, at.offset, field('p_offset'));
  const size = word(image, phdr, at.filesz, field('p_filesz'));
  // Linux aligns its notes to 4 bytes in ELF64 too; only .note.gnu.property uses 8.
  const alignment = word(image, phdr, at.align, field('p_align')) === 8 ? 8 : 4;
  if (size > NOTE_SEGMENT_SIZE_MAX) {
    throw invalidKernel(image, field('p_filesz'), `${size} is above ${NOTE_SEGMENT_SIZE_MAX}`);
  }
  const notes = image.read(fileOffset, size, field('p_offset + p_filesz'));
  for (let note = 0; note + 12 <= size; ) {
    const nameSize = notes.getUint32(note, true);
    const descSize = notes.getUint32(note + 4, true);
    const type = notes.getUint32(note + 8, true);
    const descAt = alignUp(note + 12 + nameSize, alignment);
    const end = descAt + descSize;
    if (end > size) {
      throw invalidKernel(image, field('n_namesz + n_descsz'), `a note ends at ${end} of ${size}`);
    }
    const isXen = nameSize === 4 && notes.getUint32(note + 12) === XEN_NOTE_NAME;
    if (isXen && type === XEN_ELFNOTE_PHYS32_ENTRY) {
      // A 64-bit kernel may store the 32-bit address in a 64-bit word.
      if (descSize === 4) return notes.getUint32(descAt, true);
      if (descSize === 8) return readU64(image, notes, descAt, 'XEN_ELFNOTE_PHYS32_ENTRY');
      throw invalidKernel(image, 'XEN_ELFNOTE_PHYS32_ENTRY', `n_descsz is ${descSize}, not 4 or 8`);
    }
    note = alignUp(end, alignment);
  }
  return undefined;
}

/** The words of a Multiboot header up to and including its checksum sum to 0. */
function isMultiboot(image: ImageSource): boolean {
  return MULTIBOOT_HEADERS.some(({ magic, alignment, searchBytes, words }) => {
    const length = Math.min(searchBytes, image.sizeBytes);
    const view = image.read(0, length, 'Multiboot header');
    for (let at = 0; at + 4 * words <= length; at += alignment) {
      if (view.getUint32(at, true) !== magic) continue;
      let sum = 0;
      for (let word = 0; word < words; word++) sum += view.getUint32(at + 4 * word, true);
      if (sum % 2 ** 32 === 0) return true;
    }
    return false;
  });
}

function isInside(entry: number, segments: readonly ElfSegment[]): boolean {
  return segments.some(({ gpa, fileSizeBytes }) => entry >= gpa && entry < gpa + fileSizeBytes);
}

/** @throws TsvmError `invalid-kernel` unless the entry is within a segment */
function checkEntry(
  image: ImageSource,
  field: string,
  entry: number,
  segments: readonly ElfSegment[],
): void {
  if (isInside(entry, segments)) return;
  throw invalidKernel(
    image,
    field,
    `physical address 0x${entry.toString(16)} is in no PT_LOAD segment`,
  );
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
