/** AML against examples worked out by hand from ACPI 6.5, sections 20.2 and 6.4. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as aml from '../../../../../vmm/arch/x86_64/acpi/aml.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('an integer is encoded in its shortest form', () => {
  assert.equal(hex(aml.integer(0)), '00');
  assert.equal(hex(aml.integer(1)), '01');
  assert.equal(hex(aml.integer(2)), '0a02');
  assert.equal(hex(aml.integer(0xff)), '0aff');
  assert.equal(hex(aml.integer(0x100)), '0b0001');
  assert.equal(hex(aml.integer(0xd0001000)), '0c001000d0');
});

test('EISA ids are compressed as the specification shows for PNP0303', () => {
  assert.equal(hex(aml.eisaId('PNP0303')), '0c41d00303');
  assert.equal(hex(aml.eisaId('PNP0501')), '0c41d00501');
});

test('names are four characters, from the root with a backslash', () => {
  assert.equal(hex(aml.name('_S5', aml.integer(0))), `08${hex(Buffer.from('_S5_'))}00`);
  assert.equal(hex(aml.name('\\_S5', aml.integer(0))), `08${hex(Buffer.from('\\_S5_'))}00`);
});

test('package lengths count themselves, at each border between their widths', () => {
  const lengthOf = (contentBytes: number) => {
    const encoded = aml.scope('ABCD', new Uint8Array(contentBytes - 4));
    assert.equal(encoded[0], 0x10);
    const lead = encoded[1] ?? 0;
    const more = lead >> 6;
    let length = more === 0 ? lead & 0x3f : lead & 0x0f;
    for (let i = 0; i < more; i++) length += (encoded[2 + i] ?? 0) * 2 ** (4 + 8 * i);
    assert.equal(length, encoded.length - 1, `content of ${contentBytes} bytes`);
    assert.equal(length - contentBytes, 1 + more);
    return 1 + more;
  };
  assert.equal(lengthOf(62), 1);
  assert.equal(lengthOf(63), 2);
  assert.equal(lengthOf(0xfff - 2), 2);
  assert.equal(lengthOf(0xfff - 1), 3);
  assert.equal(lengthOf(0xfffff - 3), 3);
  assert.equal(lengthOf(0xfffff - 2), 4);
});

test('resource descriptors', () => {
  assert.equal(hex(aml.ioPorts(0x3f8, 8)), '4701f803f8030108');
  assert.equal(hex(aml.memory32Fixed(0xd0001000, 0x1000)), '86090001001000d000100000');
  assert.equal(hex(aml.edgeInterrupt(5)), '890600030105000000');
  assert.equal(hex(aml.resourceTemplate(aml.edgeInterrupt(5))), '110e0a0b8906000301050000007900');
});

test('a method with a notification', () => {
  const method = aml.serializedMethod('_EVT', 1, aml.notify('PWRB', 0x80));
  assert.equal(hex(method), `140d${hex(Buffer.from('_EVT'))}0986${hex(Buffer.from('PWRB'))}0a80`);
});
