/** The oracle is iasl, Intel's ACPI compiler: it disassembles each table and compiles it again. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { composeAcpiTables } from '../../../../../vmm/arch/x86_64/acpi/tables.ts';
import { ACPI_AREA_GPA, ACPI_AREA_SIZE } from '../../../../../vmm/arch/x86_64/layout.ts';

const HARDWARE = {
  cpus: 3,
  pciBus: { removableSlotMax: 31 },
  virtioMmio: [
    { gpa: 0xd0001000, sizeBytes: 0x1000, gsi: 5 },
    { gpa: 0xd0002000, sizeBytes: 0x1000, gsi: 23 },
  ],
  sleepTypeS5: 5,
  rtcCenturyRegister: 0x32,
};

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

/** Follows the pointers as a kernel does. */
function readTables(hardware = HARDWARE): Map<string, Buffer> {
  const { rsdpGpa, bytes } = composeAcpiTables(hardware);
  const memory = Buffer.from(bytes);
  const at = (gpa: bigint) => memory.subarray(Number(gpa) - rsdpGpa);
  const table = (gpa: bigint) => at(gpa).subarray(0, at(gpa).readUInt32LE(4));
  const rsdp = memory.subarray(0, 36);
  const xsdt = table(rsdp.readBigUInt64LE(24));
  const tables = new Map([
    ['RSDP', rsdp],
    ['XSDT', xsdt],
  ]);
  for (let entry = 36; entry < xsdt.length; entry += 8) {
    const found = table(xsdt.readBigUInt64LE(entry));
    tables.set(found.toString('latin1', 0, 4), found);
  }
  const fadt = tables.get('FACP');
  assert.ok(fadt);
  tables.set('DSDT', table(fadt.readBigUInt64LE(140)));
  return tables;
}

test('the tables fit their area, and every checksum is right', () => {
  const virtioMmio = Array.from({ length: 255 }, (_, i) => ({
    gpa: 0xd0001000 + 0x1000 * i,
    sizeBytes: 0x1000,
    gsi: 5,
  }));
  const { rsdpGpa, bytes } = composeAcpiTables({ ...HARDWARE, cpus: 255, virtioMmio });
  assert.equal(rsdpGpa % 16, 0);
  assert.ok(rsdpGpa >= ACPI_AREA_GPA);
  assert.ok(rsdpGpa + bytes.length <= ACPI_AREA_GPA + ACPI_AREA_SIZE);
  const tables = readTables();
  assert.deepEqual([...tables.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'MCFG', 'RSDP', 'XSDT']);
  for (const [name, table] of tables) assert.equal(sum(table), 0, name);
  assert.equal(sum(tables.get('RSDP')?.subarray(0, 20) ?? Buffer.of(1)), 0, 'ACPI 1.0 checksum');
});

const iasl = spawnSync('iasl', ['-v']);

describe('iasl', {
  skip: iasl.error ? 'iasl is missing: apt-get install acpica-tools' : false,
}, () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'tsvm-acpi-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  function run(...args: string[]): string {
    const { stdout, stderr } = spawnSync('iasl', args, { cwd: folder, encoding: 'utf8' });
    return stdout + stderr;
  }

  /** The table's source, once iasl found no fault in it. */
  function disassemble(name: string, table: Uint8Array): { report: string; source: string } {
    writeFileSync(join(folder, `${name}.dat`), table);
    const report = run('-d', `${name}.dat`);
    return { report, source: readFileSync(join(folder, `${name}.dsl`), 'utf8') };
  }

  for (const name of ['DSDT', 'FACP', 'APIC', 'MCFG', 'XSDT']) {
    test(`${name} disassembles without a complaint and compiles to the same bytes`, () => {
      const table = readTables().get(name);
      assert.ok(table);
      const { report, source } = disassemble(name, table);
      assert.doesNotMatch(report + source, /warning|error|invalid|incorrect/i);
      const compiled = run('-oa', `${name}.dsl`);
      assert.match(compiled, /0 Errors, 0 Warnings, 0 Remarks/);
      const again = readFileSync(join(folder, `${name}.aml`));
      /* iasl puts itself down as the compiler, which the checksum covers. */
      again.copyWithin(28, 36, 36);
      for (const copy of [again, table]) copy.fill(0, 28, 36).fill(0, 9, 10);
      assert.deepEqual(again, table);
    });
  }

  test('a wrong checksum is reported', () => {
    const table = Buffer.from(readTables().get('APIC') ?? []);
    table.writeUInt8((table.readUInt8(9) + 1) & 0xff, 9);
    const { report, source } = disassemble('corrupt', table);
    assert.match(report + source, /incorrect checksum/i);
  });

  test('the RSDP equals the one that iasl compiles from the same fields', () => {
    const rsdp = readTables().get('RSDP');
    assert.ok(rsdp);
    const xsdtGpa = rsdp.readBigUInt64LE(24).toString(16).padStart(16, '0');
    writeFileSync(
      join(folder, 'rsdp.asl'),
      [
        '[0008] Signature : "RSD PTR "',
        '[0001] Checksum : 00',
        '[0006] Oem ID : "TSVM  "',
        '[0001] Revision : 02',
        '[0004] RSDT Address : 00000000',
        '[0004] Length : 00000024',
        `[0008] XSDT Address : ${xsdtGpa}`,
        '[0001] Extended Checksum : 00',
        '[0003] Reserved : 000000',
      ].join('\n'),
    );
    assert.match(run('rsdp.asl'), /0 Errors/);
    assert.deepEqual(readFileSync(join(folder, 'rsdp.aml')), rsdp);
  });

  test('FACP: hardware-reduced, soft off and reset by ports, no VGA, no i8042, a century', () => {
    const { source } = disassemble('facp', readTables().get('FACP') ?? Buffer.of());
    for (const line of [
      /Hardware Reduced \(V5\) : 1/,
      /Reset Register Supported \(V2\) : 1/,
      /VGA Not Present \(V4\) : 1/,
      /8042 Present on ports 60\/64 \(V2\) : 0/,
      /CMOS RTC Not Present \(V5\) : 0/,
      /MSI Not Supported \(V4\) : 0/,
      /RTC Century Index : 32/,
      /Value to cause reset : FE/,
      /Reset Register :.*?SystemIO.*?Address : 0000000000000064/s,
      /Sleep Control Register :.*?SystemIO.*?Address : 0000000000000600/s,
      /Sleep Status Register :.*?SystemIO.*?Address : 0000000000000601/s,
    ]) {
      assert.match(source, line);
    }
  });

  test('APIC: a local APIC for each vCPU, one IO-APIC from GSI 0, NMI on LINT1', () => {
    const { source } = disassemble('apic', readTables().get('APIC') ?? Buffer.of());
    assert.deepEqual(
      [...source.matchAll(/Local Apic ID : (\w+)/g)].map(([, id]) => id),
      ['00', '01', '02'],
    );
    assert.equal([...source.matchAll(/Processor Enabled : 1/g)].length, 3);
    assert.match(source, /\[I\/O APIC\].*?Address : FEC00000.*?Interrupt : 00000000/s);
    assert.match(source, /Interrupt Input LINT : 01/);
  });

  test('DSDT: each device with its resources, the power button, and S5', () => {
    const { source } = disassemble('dsdt', readTables().get('DSDT') ?? Buffer.of());
    const device = (name: string) => {
      const [, text] = new RegExp(`Device \\(${name}\\)(.*?)\\n        }`, 's').exec(source) ?? [];
      return text ?? assert.fail(`device ${name}`);
    };
    assert.match(
      device('COM1'),
      /PNP0501.*0x03F8,.*0x08, .*Edge, ActiveHigh, Exclusive.*0x00000004/s,
    );
    assert.match(device('RTC'), /PNP0B00.*0x0070,.*0x02, /s);
    assert.doesNotMatch(device('RTC'), /Interrupt/);
    assert.match(device('PEVT'), /QEMU0001.*0x0505,/s);
    assert.match(device('VR00'), /LNRO0005.*_UID, Zero.*_CCA, One.*0xD0001000,.*0x00000005/s);
    assert.match(
      device('VR01'),
      /LNRO0005.*_UID, One.*0xD0002000,.*0x00001000,.*Edge, ActiveHigh.*0x00000017/s,
    );
    assert.match(source, /Name \(\\_S5, Package \(0x01\).*0x05/s);
    assert.match(device('PWRB'), /PNP0C0C/);
    assert.match(
      device('GED0'),
      /ACPI0013.*Edge, ActiveHigh, Exclusive.*0x00000003.*Method \(_EVT, 1, Serialized\).*Notify \(PWRB, 0x80\)/s,
    );
    // A guest would interpret any other method while it boots.
    const names = [...source.matchAll(/Method \((\w+)/g)].map(([, name]) => name);
    assert.deepEqual([...new Set(names)].sort(), ['_EJ0', '_EVT']);
  });

  test('DSDT: each slot of the PCI bus can be ejected, and learns what its event is', () => {
    const { source } = disassemble('hotplug', readTables().get('DSDT') ?? Buffer.of());
    assert.match(source, /OperationRegion \(PHPR, SystemIO, 0x0610, 0x0C\)/);
    assert.match(source, /Field \(PHPR, DWordAcc, NoLock, WriteAsZeros\)/);
    const slots = [...source.matchAll(/Device \(S([0-9A-F]{2})\)(.*?)PEJT = (\w+)/gs)];
    assert.equal(slots.length, 31);
    for (const [, name = '', text = '', bit] of slots) {
      const slot = Number.parseInt(name, 16);
      const [, address] = /_ADR, (\w+)/.exec(text) ?? [];
      assert.equal(Number(address), slot << 16, name);
      assert.match(text, /Method \(_EJ0, 1/);
      assert.equal(Number(bit), 2 ** slot, name);
    }
    const [, events = ''] = /Device \(GED1\)(.*)/s.exec(source) ?? [];
    assert.match(events, /_UID, One.*Edge, ActiveHigh, Exclusive.*0x00000005.*Method \(_EVT, 1/s);
    const notices = [
      ...events.matchAll(/Local(\d) & (\w+)\).*?Notify \(\W*_SB\.PCI0\.S(..), (\w+)/gs),
    ];
    assert.deepEqual(
      notices
        .map(([, variable, bit, slot = '', value]) => [
          Number(variable) === 0 ? 'One' : '0x03',
          Number(bit) === 2 ** Number.parseInt(slot, 16),
          value === 'One' ? 'One' : '0x03',
        ])
        .every(([expected, isOwnBit, value]) => expected === value && isOwnBit),
      true,
    );
    assert.equal(notices.length, 62);
  });
});
