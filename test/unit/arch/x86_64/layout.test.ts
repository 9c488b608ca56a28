import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as layout from '../../../../vmm/arch/x86_64/layout.ts';
import { TsvmError } from '../../../../vmm/errors.ts';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** [first address, length] of everything that has a fixed place. */
const AREAS: Record<string, readonly [number, number]> = {
  'BIOS data area': [0x400, 0x100],
  'boot GDT': [layout.BOOT_GDT_GPA, 0x100],
  'PVH start info': [layout.PVH_START_INFO_GPA, 0x1000],
  'zero page': [layout.ZERO_PAGE_GPA, 0x1000],
  'page tables': [layout.PAGE_TABLES_GPA, layout.PAGE_TABLES_SIZE],
  'boot stack': [layout.BOOT_STACK_TOP_GPA - 0x1000, 0x1000],
  'command line': [layout.COMMAND_LINE_GPA, layout.COMMAND_LINE_AREA_SIZE],
  'MP table': [layout.MP_TABLE_GPA, layout.MP_TABLE_AREA_SIZE],
  'legacy VGA': [0xa0000, 0x20000],
  'ACPI tables': [layout.ACPI_AREA_GPA, layout.ACPI_AREA_SIZE],
  'reset vector': [layout.RESET_VECTOR_GPA, 16],
  'virtio-mmio': [
    layout.VIRTIO_MMIO_GPA,
    layout.VIRTIO_MMIO_DEVICES_MAX * layout.VIRTIO_MMIO_DEVICE_SIZE,
  ],
  'kvm-pvm region': [layout.PVM_REGION_GPA, layout.PVM_REGION_SIZE],
  'IO-APIC': [layout.IOAPIC_GPA, 0x1000],
  'local APIC': [layout.LAPIC_GPA, 0x1000],
  'KVM TSS': [layout.KVM_TSS_GPA, 0x3000],
  'KVM identity map': [layout.KVM_IDENTITY_MAP_GPA, 0x1000],
};

test('no two areas overlap', () => {
  const sorted = Object.entries(AREAS).sort(([, a], [, b]) => a[0] - b[0]);
  sorted.forEach(([name, [start]], index) => {
    const [before, [beforeStart, beforeLength]] = sorted[index - 1] ?? ['', [0, 0]];
    assert.ok(beforeStart + beforeLength <= start, `${before} runs into ${name}`);
  });
});

test('the MP table ends with base memory', () => {
  assert.equal(layout.MP_TABLE_GPA + layout.MP_TABLE_AREA_SIZE, layout.BASE_MEMORY_END_GPA);
});

test('devices are in the hole, and tables that a kernel reads late are reserved', () => {
  const map = layout.e820Map(5 * GIB);
  for (const [name, [start, length]] of Object.entries(AREAS)) {
    const lines = map.filter((e) => e.gpa < start + length && start < e.gpa + e.sizeBytes);
    const types = lines.map((line) => line.type);
    if (start >= layout.PCI_HOLE_GPA) {
      assert.ok(start + length <= layout.PCI_HOLE_END_GPA, name);
      assert.deepEqual(types, [], name);
    } else if (/MP|ACPI/.test(name)) {
      assert.deepEqual(types, [layout.E820_RESERVED], name);
    } else if (start < 0xa0000) {
      assert.deepEqual(types, [layout.E820_RAM], name);
    }
  }
});

test('memory is split around the hole', () => {
  const low = (sizeBytes: number) => [{ gpa: 0, sizeBytes }];
  assert.deepEqual(layout.memoryRegions(16 * MIB), low(16 * MIB));
  assert.deepEqual(layout.memoryRegions(3 * GIB), low(3 * GIB));
  const beyond = (sizeBytes: number) => [...low(3 * GIB), { gpa: 4 * GIB, sizeBytes }];
  assert.deepEqual(layout.memoryRegions(3 * GIB + 4096), beyond(4096));
  assert.deepEqual(layout.memoryRegions(5 * GIB), beyond(2 * GIB));
  assert.equal(layout.lowMemoryEnd(16 * MIB), 16 * MIB);
  assert.equal(layout.lowMemoryEnd(5 * GIB), 3 * GIB);
});

test('the memory map is ascending, apart, and has all memory but the VGA and ROM area', () => {
  for (const sizeBytes of [16 * MIB, 128 * MIB, 3 * GIB, 3 * GIB + 4096, 64 * GIB]) {
    const map = layout.e820Map(sizeBytes);
    let end = 0;
    for (const entry of map) {
      assert.ok(entry.gpa >= end && entry.sizeBytes > 0);
      end = entry.gpa + entry.sizeBytes;
    }
    const ram = map.filter((entry) => entry.type === layout.E820_RAM);
    const total = ram.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    assert.equal(total, sizeBytes - (0x100000 - layout.MP_TABLE_GPA));
  }
});

test('sizes that are no guest are refused', () => {
  for (const size of [
    0,
    -4096,
    16 * MIB - 4096,
    16 * MIB + 1,
    2 ** 53,
    Number.NaN,
    20 * MIB + 0.5,
  ]) {
    assert.throws(
      () => layout.memoryRegions(size),
      (error) => error instanceof TsvmError && error.code === 'invalid-config',
    );
  }
});

test('memory that is added later begins above all RAM, where Linux’s blocks begin, and has whole ones', () => {
  assert.deepEqual(layout.hotplugRegion(512 * MIB, 513 * MIB), {
    gpa: 4 * GIB,
    sizeBytes: 128 * MIB,
  });
  assert.deepEqual(layout.hotplugRegion(3 * GIB, 4 * GIB), { gpa: 4 * GIB, sizeBytes: GIB });
  assert.deepEqual(layout.hotplugRegion(4 * GIB, 5 * GIB), { gpa: 6 * GIB, sizeBytes: GIB });
  assert.deepEqual(layout.hotplugRegion(64 * GIB, 65 * GIB), { gpa: 66 * GIB, sizeBytes: 2 * GIB });
});

test('files as memory are behind all other memory, also behind what can be added', () => {
  const sizes = [2 * MIB, 130 * MIB, 2 * MIB];
  const places = (sizeBytes: number, maxBytes?: number) =>
    layout.pmemRegions(sizeBytes, maxBytes, sizes).map(({ gpa }) => gpa);
  assert.deepEqual(places(512 * MIB), [4 * GIB, 4 * GIB + 128 * MIB, 4 * GIB + 384 * MIB]);
  assert.equal(places(4 * GIB)[0], 6 * GIB);
  assert.equal(places(GIB, 2 * GIB)[0], 5 * GIB);
});
