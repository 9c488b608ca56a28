/** A reader of the MP table after Linux's arch/x86/kernel/mpparse.c, written for the test alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  IOAPIC_GPA,
  LAPIC_GPA,
  MP_TABLE_AREA_SIZE,
  MP_TABLE_GPA,
} from '../../../../vmm/arch/x86_64/layout.ts';
import { composeMpTable } from '../../../../vmm/arch/x86_64/mptable.ts';

const ENTRY_SIZES = [20, 8, 8, 8, 8];

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

function readTable(cpus: number) {
  const { gpa, bytes } = composeMpTable(cpus);
  const memory = Buffer.from(bytes);
  assert.equal(memory.toString('latin1', 0, 4), '_MP_');
  assert.equal(memory.readUInt8(8) * 16, 16);
  assert.equal(sum(memory.subarray(0, 16)), 0, 'checksum of the pointer');
  const table = memory.subarray(memory.readUInt32LE(4) - gpa);
  assert.equal(table.toString('latin1', 0, 4), 'PCMP');
  assert.equal(table.readUInt16LE(4), table.length);
  assert.equal(table.readUInt8(6), memory.readUInt8(9), 'both say which revision');
  assert.equal(sum(table), 0, 'checksum of the table');
  const entries: Buffer[] = [];
  let at = 44;
  while (at < table.length) {
    const size = ENTRY_SIZES[table.readUInt8(at)] ?? assert.fail('an entry type that exists');
    entries.push(table.subarray(at, at + size));
    at += size;
  }
  assert.equal(at, table.length);
  assert.equal(table.readUInt16LE(34), entries.length);
  return { gpa, memory, table, ofType: (type: number) => entries.filter((e) => e[0] === type) };
}

test('it is where a system searches for it and fits, for 1 to 32 vCPUs', () => {
  for (let cpus = 1; cpus <= 32; cpus++) {
    const { gpa, memory } = readTable(cpus);
    assert.equal(gpa, MP_TABLE_GPA);
    assert.equal(gpa % 16, 0);
    assert.ok(memory.length <= MP_TABLE_AREA_SIZE, `${memory.length} bytes for ${cpus} vCPUs`);
  }
});

test('it lists the processors, the first as the one that boots', () => {
  const processors = readTable(32).ofType(0);
  assert.deepEqual(
    processors.map((entry) => entry[1]),
    Array.from({ length: 32 }, (_, id) => id),
  );
  assert.deepEqual(
    processors.map((entry) => entry[3]),
    [3, ...Array(31).fill(1)],
  );
});

test('it names the APICs, with an id for the IO-APIC that no processor has', () => {
  const { table, ofType } = readTable(4);
  assert.equal(table.readUInt32LE(36), LAPIC_GPA);
  const [ioApic, ...others] = ofType(2);
  assert.ok(ioApic);
  assert.equal(others.length, 0);
  assert.deepEqual([...ioApic.subarray(1, 4)], [4, 0x11, 1]);
  assert.equal(ioApic.readUInt32LE(4), IOAPIC_GPA);
});

test('every interrupt line goes to the pin of its number, edge-triggered and active high', () => {
  const { ofType } = readTable(2);
  const [bus] = ofType(1);
  assert.equal(bus?.toString('latin1', 2), 'ISA   ');
  const interrupts = ofType(3);
  assert.equal(interrupts.length, 24);
  interrupts.forEach((entry, line) => {
    assert.equal(entry[1], 0, 'a vectored interrupt');
    assert.equal(entry.readUInt16LE(2), 0b0101);
    assert.deepEqual([...entry.subarray(4)], [bus?.[1], line, 2, line]);
  });
});

test('ExtINT is on LINT0 of the boot processor, NMI on LINT1 of all', () => {
  const [extInt, nmi] = readTable(2).ofType(4);
  assert.deepEqual([extInt?.[1], extInt?.[6], extInt?.[7]], [3, 0, 0]);
  assert.deepEqual([nmi?.[1], nmi?.[6], nmi?.[7]], [1, 0xff, 1]);
});
