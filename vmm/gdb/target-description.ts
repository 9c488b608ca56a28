/** The target description for GDB: "Debugging with GDB", appendix G. */
import { type GdbRegister, REGISTERS } from './registers.ts';

/** Types that GDB does not know by itself, by the feature that has them. */
const TYPES: Readonly<Record<string, string>> = {
  'org.gnu.gdb.i386.core': flags('i386_eflags', {
    CF: 0,
    PF: 2,
    AF: 4,
    ZF: 6,
    SF: 7,
    TF: 8,
    IF: 9,
    DF: 10,
    OF: 11,
    NT: 14,
    RF: 16,
    VM: 17,
    AC: 18,
    VIF: 19,
    VIP: 20,
    ID: 21,
  }),
  'org.gnu.gdb.i386.sse':
    vectors({ v4f: ['ieee_single', 4], v2d: ['ieee_double', 2], v16i8: ['int8', 16] }) +
    vectors({ v8i16: ['int16', 8], v4i32: ['int32', 4], v2i64: ['int64', 2] }) +
    '<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>' +
    '<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>' +
    '<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>' +
    '<field name="uint128" type="uint128"/></union>' +
    flags('i386_mxcsr', {
      IE: 0,
      DE: 1,
      ZE: 2,
      OE: 3,
      UE: 4,
      PE: 5,
      DAZ: 6,
      IM: 7,
      DM: 8,
      ZM: 9,
      OM: 10,
      UM: 11,
      PM: 12,
      FZ: 15,
    }),
};

function flags(id: string, bits: Readonly<Record<string, number>>): string {
  const fields = Object.entries(bits).map(
    ([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`,
  );
  return `<flags id="${id}" size="4">${fields.join('')}</flags>`;
}

function vectors(types: Readonly<Record<string, readonly [type: string, count: number]>>): string {
  return Object.entries(types)
    .map(([id, [type, count]]) => `<vector id="${id}" type="${type}" count="${count}"/>`)
    .join('');
}

function registerElement({ name, bytes, type }: GdbRegister, number: number): string {
  return `<reg name="${name}" bitsize="${bytes * 8}" type="${type}" regnum="${number}"/>`;
}

/** `target.xml`, in which the registers have their numbers of {@link REGISTERS}. */
export function targetDescription(): string {
  const features = [...new Set(REGISTERS.map(({ feature }) => feature))].map((feature) => {
    const registers = REGISTERS.map((register, number) =>
      register.feature === feature ? registerElement(register, number) : '',
    );
    return `<feature name="${feature}">${TYPES[feature] ?? ''}${registers.join('')}</feature>`;
  });
  return (
    '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">' +
    `<target><architecture>i386:x86-64</architecture>${features.join('')}</target>`
  );
}
