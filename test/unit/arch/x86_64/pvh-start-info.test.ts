import assert from 'node:assert/strict';
import { test } from 'node:test';
import { E820_RAM, e820Map, PVH_START_INFO_GPA } from '../../../../vmm/arch/x86_64/layout.ts';
import { composePvhStartInfo } from '../../../../vmm/arch/x86_64/pvh-start-info.ts';

const GPA = PVH_START_INFO_GPA;
const MAP = e820Map(5 * 2 ** 30);

/** Reads start info as a kernel does that finds `bytes` at GPA: Xen's start_info.h. */
function read(bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (offset: number) => view.getUint32(offset, true);
  const u64 = (offset: number) => Number(view.getBigUint64(offset, true));
  const list = <T>(gpa: number, count: number, size: number, item: (offset: number) => T) =>
    Array.from({ length: count }, (_, index) => item(gpa - GPA + index * size));
  return {
    magic: bytes.subarray(0, 4),
    version: u32(4),
    flags: u32(8),
    modules: list(u64(16), u32(12), 32, (at) => ({
      gpa: u64(at),
      sizeBytes: u64(at + 8),
      commandLineGpa: u64(at + 16),
      reserved: u64(at + 24),
    })),
    commandLineGpa: u64(24),
    rsdpGpa: u64(32),
    memoryMap: list(u64(40), u32(48), 24, (at) => ({
      gpa: u64(at),
      sizeBytes: u64(at + 8),
      type: u32(at + 16),
    })),
    reserved: u32(52),
  };
}

test('a kernel finds command line, initrd, RSDP and memory map', () => {
  const initrd = { gpa: 0x7000000, sizeBytes: 12345 };
  const content = { gpa: GPA, memoryMap: MAP, commandLineGpa: 0x10000, initrd, rsdpGpa: 0xe0000 };
  assert.deepEqual(read(composePvhStartInfo(content)), {
    // "xEn3" with bit 7 of the E set
    magic: Uint8Array.of(0x78, 0x45 | 0x80, 0x6e, 0x33),
    version: 1,
    flags: 0,
    modules: [{ ...initrd, commandLineGpa: 0, reserved: 0 }],
    commandLineGpa: 0x10000,
    rsdpGpa: 0xe0000,
    memoryMap: MAP,
    reserved: 0,
  });
});

test('without an initrd there is no module', () => {
  const bytes = composePvhStartInfo({ gpa: GPA, memoryMap: MAP, commandLineGpa: 0x10000 });
  const info = read(bytes);
  assert.deepEqual(info.modules, []);
  assert.equal(new DataView(bytes.buffer).getBigUint64(16, true), 0n);
  assert.equal(info.rsdpGpa, 0);
  assert.deepEqual(info.memoryMap, MAP);
});

test('a memory map that does not fit a page is refused', () => {
  const entry = { gpa: 0, sizeBytes: 1, type: E820_RAM } as const;
  const compose = (count: number) =>
    composePvhStartInfo({
      gpa: GPA,
      memoryMap: Array.from({ length: count }, () => entry),
      commandLineGpa: 0x10000,
    });
  assert.ok(compose(168).byteLength <= 4096);
  assert.throws(() => compose(169), RangeError);
});
