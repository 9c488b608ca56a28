/**
 * The zero page, `struct boot_params`: Linux's Documentation/arch/x86/zero-page.rst and, for the
 * setup header in it, boot.rst.
 */
import { type E820Entry, PAGE_SIZE } from './layout.ts';

export interface ZeroPageContent {
  /** A bzImage's setup header, starting at setup_sects (0x1f1). Default: a minimal header. */
  readonly setupHeader?: Uint8Array;
  /** Where the bzImage's protected-mode code is loaded. */
  readonly codeGpa?: number;
  readonly memoryMap: readonly E820Entry[];
  /** Address of the NUL-terminated command line, below 4 GiB. */
  readonly commandLineGpa: number;
  readonly initrd?: { readonly gpa: number; readonly sizeBytes: number };
  /** Address of the ACPI RSDP. */
  readonly rsdpGpa?: number;
}

const ACPI_RSDP_ADDR = 0x070;
const E820_ENTRIES = 0x1e8;
const SETUP_HEADER = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER = 0x202;
const VERSION = 0x206;
const TYPE_OF_LOADER = 0x210;
const LOADFLAGS = 0x211;
const CODE32_START = 0x214;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const CMD_LINE_PTR = 0x228;
const HARDWARE_SUBARCH = 0x23c;
const SETUP_DATA = 0x250;
const SETUP_HEADER_END_MAX = 0x290;
const E820_TABLE = 0x2d0;
const E820_ENTRY_SIZE = 20;
const E820_ENTRIES_MAX = 128;

/** type_of_loader of a boot loader without an assigned ID. */
const LOADER_UNDEFINED = 0xff;
const LOADED_HIGH = 1 << 0;
/** With it the decompressor tells the kernel that KASLR is on. The host never randomizes. */
const KASLR_FLAG = 1 << 1;

/**
 * The zero page's bytes.
 * @throws RangeError when the setup header or the memory map is too long for it
 */
export function composeZeroPage(content: ZeroPageContent): Uint8Array {
  const { setupHeader, codeGpa, memoryMap, commandLineGpa, initrd, rsdpGpa = 0 } = content;
  const page = new Uint8Array(PAGE_SIZE);
  const view = new DataView(page.buffer);
  if (setupHeader) copySetupHeader(page, setupHeader);
  else composeMinimalHeader(view);

  view.setUint8(TYPE_OF_LOADER, LOADER_UNDEFINED);
  view.setUint8(LOADFLAGS, view.getUint8(LOADFLAGS) & ~KASLR_FLAG);
  if (codeGpa !== undefined) view.setUint32(CODE32_START, codeGpa, true);
  view.setUint32(CMD_LINE_PTR, commandLineGpa, true);
  view.setUint32(HARDWARE_SUBARCH, 0, true);
  // Written by the boot loader: a value left over from the image would be taken for an address.
  view.setBigUint64(SETUP_DATA, 0n, true);
  view.setUint32(RAMDISK_IMAGE, initrd?.gpa ?? 0, true);
  view.setUint32(RAMDISK_SIZE, initrd?.sizeBytes ?? 0, true);
  view.setBigUint64(ACPI_RSDP_ADDR, BigInt(rsdpGpa), true);

  if (memoryMap.length > E820_ENTRIES_MAX) {
    throw new RangeError(`${memoryMap.length} memory map entries; the zero page holds at most 128`);
  }
  view.setUint8(E820_ENTRIES, memoryMap.length);
  memoryMap.forEach(({ gpa, sizeBytes, type }, index) => {
    const offset = E820_TABLE + index * E820_ENTRY_SIZE;
    view.setBigUint64(offset, BigInt(gpa), true);
    view.setBigUint64(offset + 8, BigInt(sizeBytes), true);
    view.setUint32(offset + 16, type, true);
  });
  return page;
}

function copySetupHeader(page: Uint8Array, setupHeader: Uint8Array): void {
  if (SETUP_HEADER + setupHeader.byteLength > SETUP_HEADER_END_MAX) {
    throw new RangeError(`a setup header of ${setupHeader.byteLength} bytes is too long`);
  }
  page.set(setupHeader, SETUP_HEADER);
}

/** The fields that a kernel reads when its own setup code has been skipped. */
function composeMinimalHeader(view: DataView): void {
  view.setUint16(BOOT_FLAG, 0xaa55, true);
  view.setUint32(HEADER, 0x53726448, true);
  view.setUint16(VERSION, 0x020f, true);
  view.setUint8(LOADFLAGS, LOADED_HIGH);
}
