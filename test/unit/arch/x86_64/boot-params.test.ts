import assert from 'node:assert/strict';
import { test } from 'node:test';
import { composeZeroPage } from '../../../../vmm/arch/x86_64/boot-params.ts';
import { E820_RAM, E820_RESERVED, e820Map } from '../../../../vmm/arch/x86_64/layout.ts';
import { evaluateC } from './c-oracle.ts';

const field = (name: string) => `offsetof(struct boot_params, ${name})`;
const NAMES = [
  'acpi_rsdp_addr',
  'e820_entries',
  'e820_table',
  'sentinel',
  'hdr',
  'hdr.boot_flag',
  'hdr.header',
  'hdr.version',
  'hdr.type_of_loader',
  'hdr.loadflags',
  'hdr.code32_start',
  'hdr.hardware_subarch',
  'hdr.ramdisk_image',
  'hdr.ramdisk_size',
  'hdr.cmd_line_ptr',
  'hdr.setup_data',
  'edd_mbr_sig_buffer',
] as const;
const PAGE = 'sizeof(struct boot_params)';
const ENTRY = 'sizeof(struct boot_e820_entry)';
const C = evaluateC(['asm/bootparam.h'], [...NAMES.map(field), PAGE, ENTRY]);
const at = (name: (typeof NAMES)[number]): number => C[field(name)] ?? Number.NaN;

const MAP = e820Map(5 * 2 ** 30);
const CONTENT = {
  memoryMap: MAP,
  commandLineGpa: 0x10000,
  initrd: { gpa: 0x7ff0000, sizeBytes: 0x8765 },
  rsdpGpa: 0xe0000,
};

function compose(content: Parameters<typeof composeZeroPage>[0]): DataView {
  return new DataView(composeZeroPage(content).buffer);
}

test('each field has its offset in struct boot_params', () => {
  const page = compose(CONTENT);
  assert.equal(page.byteLength, C[PAGE]);
  assert.equal(page.getBigUint64(at('acpi_rsdp_addr'), true), 0xe0000n);
  assert.equal(page.getUint16(at('hdr.boot_flag'), true), 0xaa55);
  assert.equal(page.getUint32(at('hdr.header'), true), 0x53726448);
  assert.ok(page.getUint16(at('hdr.version'), true) >= 0x020c);
  assert.equal(page.getUint8(at('hdr.type_of_loader')), 0xff);
  assert.equal(page.getUint8(at('hdr.loadflags')), 1);
  assert.equal(page.getUint32(at('hdr.ramdisk_image'), true), 0x7ff0000);
  assert.equal(page.getUint32(at('hdr.ramdisk_size'), true), 0x8765);
  assert.equal(page.getUint32(at('hdr.cmd_line_ptr'), true), 0x10000);
  assert.equal(page.getUint8(at('sentinel')), 0);
});

test('the loader’s fields replace those of the image', () => {
  const setupHeader = new Uint8Array(0x26c - 0x1f1).fill(0xff);
  const page = compose({ ...CONTENT, setupHeader, codeGpa: 0x1000000 });
  assert.equal(page.getUint32(at('hdr.code32_start'), true), 0x1000000);
  assert.equal(page.getUint32(at('hdr.hardware_subarch'), true), 0);
  assert.equal(page.getBigUint64(at('hdr.setup_data'), true), 0n);
  // KASLR_FLAG: nobody has chosen an address for the kernel.
  assert.equal(page.getUint8(at('hdr.loadflags')), 0xff & ~2);
});

test('the memory map has its offset in struct boot_params', () => {
  const page = compose(CONTENT);
  assert.equal(page.getUint8(at('e820_entries')), MAP.length);
  MAP.forEach((entry, index) => {
    const offset = at('e820_table') + index * (C[ENTRY] ?? Number.NaN);
    assert.equal(page.getBigUint64(offset, true), BigInt(entry.gpa));
    assert.equal(page.getBigUint64(offset + 8, true), BigInt(entry.sizeBytes));
    assert.equal(page.getUint32(offset + 16, true), entry.type);
  });
  assert.ok(MAP.some((entry) => entry.type === E820_RAM));
  assert.ok(MAP.some((entry) => entry.type === E820_RESERVED));
});

test('a setup header is copied, except for the loader’s fields', () => {
  const setupHeader = new Uint8Array(at('edd_mbr_sig_buffer') - at('hdr')).fill(0xa5);
  const page = compose({ ...CONTENT, setupHeader });
  const bytes = new Uint8Array(page.buffer);
  const written = [
    [at('hdr.type_of_loader'), 1],
    [at('hdr.ramdisk_image'), 4],
    [at('hdr.ramdisk_size'), 4],
    [at('hdr.cmd_line_ptr'), 4],
    [at('hdr.hardware_subarch'), 4],
    [at('hdr.setup_data'), 8],
  ] as const;
  for (let offset = at('hdr'); offset < at('edd_mbr_sig_buffer'); offset++) {
    const ours = written.some(([start, length]) => offset >= start && offset < start + length);
    assert.equal(bytes[offset] === 0xa5, !ours, `offset ${offset}`);
  }
  assert.equal(page.getBigUint64(at('hdr.setup_data'), true), 0n);
  assert.equal(bytes[at('edd_mbr_sig_buffer')], 0);
  assert.equal(bytes[at('sentinel')], 0);
});

test('without an initrd or ACPI their fields are 0, regardless of the image', () => {
  const setupHeader = new Uint8Array(0x7b).fill(0xa5);
  const page = compose({ memoryMap: MAP, commandLineGpa: 0x10000, setupHeader });
  assert.equal(page.getUint32(at('hdr.ramdisk_image'), true), 0);
  assert.equal(page.getUint32(at('hdr.ramdisk_size'), true), 0);
  assert.equal(page.getBigUint64(at('acpi_rsdp_addr'), true), 0n);
});

test('data that does not fit is refused', () => {
  const setupHeader = new Uint8Array(at('edd_mbr_sig_buffer') - at('hdr') + 1);
  assert.throws(() => composeZeroPage({ ...CONTENT, setupHeader }), RangeError);
  const entry = { gpa: 0, sizeBytes: 1, type: E820_RAM } as const;
  const memoryMap = Array.from({ length: 129 }, () => entry);
  assert.throws(() => composeZeroPage({ ...CONTENT, memoryMap }), RangeError);
  composeZeroPage({ ...CONTENT, memoryMap: memoryMap.slice(1) });
});
