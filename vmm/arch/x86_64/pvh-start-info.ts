/** PVH start info: Xen's public header `arch-x86/hvm/start_info.h`, version 1. */
import { type E820Entry, PAGE_SIZE } from './layout.ts';

export interface PvhStartInfoContent {
  /** Guest-physical address that the bytes will be written to. */
  readonly gpa: number;
  readonly memoryMap: readonly E820Entry[];
  /** Address of the NUL-terminated command line. */
  readonly commandLineGpa: number;
  readonly initrd?: { readonly gpa: number; readonly sizeBytes: number };
  /** Address of the ACPI RSDP. */
  readonly rsdpGpa?: number;
}

const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;
const VERSION = 1;
const START_INFO_SIZE = 56;
const MODULE_SIZE = 32;
const MEMORY_MAP_ENTRY_SIZE = 24;

/**
 * `struct hvm_start_info`, followed by its module list and memory map: at most one page.
 * @throws RangeError when the memory map does not fit
 */
export function composePvhStartInfo(content: PvhStartInfoContent): Uint8Array {
  const { gpa, memoryMap, commandLineGpa, initrd, rsdpGpa = 0 } = content;
  const modulesAt = START_INFO_SIZE;
  const memoryMapAt = modulesAt + (initrd ? MODULE_SIZE : 0);
  const size = memoryMapAt + memoryMap.length * MEMORY_MAP_ENTRY_SIZE;
  if (size > PAGE_SIZE) {
    throw new RangeError(`PVH start info with ${memoryMap.length} memory map entries is too long`);
  }
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const setU64 = (offset: number, value: number): void => {
    view.setBigUint64(offset, BigInt(value), true);
  };
  view.setUint32(0, XEN_HVM_START_MAGIC_VALUE, true);
  view.setUint32(4, VERSION, true);
  setU64(24, commandLineGpa);
  setU64(32, rsdpGpa);
  if (initrd) {
    view.setUint32(12, 1, true);
    setU64(16, gpa + modulesAt);
    setU64(modulesAt, initrd.gpa);
    setU64(modulesAt + 8, initrd.sizeBytes);
  }
  setU64(40, gpa + memoryMapAt);
  view.setUint32(48, memoryMap.length, true);
  memoryMap.forEach((entry, index) => {
    const offset = memoryMapAt + index * MEMORY_MAP_ENTRY_SIZE;
    setU64(offset, entry.gpa);
    setU64(offset + 8, entry.sizeBytes);
    view.setUint32(offset + 16, entry.type, true);
  });
  return bytes;
}
