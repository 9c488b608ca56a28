/** The symbols of a 64-bit ELF file: "System V ABI", chapter 4. */
import { readFileSync } from 'node:fs';

export interface ElfSymbol {
  readonly value: number;
  readonly size: number;
}

const SECTIONS_OFFSET = 0x28;
const SECTION_SIZE = 0x3a;
const SECTION_COUNT = 0x3c;
const SHT_SYMTAB = 2;
const SYMBOL_BYTES = 24;

export function elfSymbols(path: string): ReadonlyMap<string, ElfSymbol> {
  const file = readFileSync(path);
  const sections = Number(file.readBigUInt64LE(SECTIONS_OFFSET));
  const size = file.readUInt16LE(SECTION_SIZE);
  const count = file.readUInt16LE(SECTION_COUNT);
  const section = (index: number) => {
    const at = sections + index * size;
    return {
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 24)),
      bytes: Number(file.readBigUInt64LE(at + 32)),
      link: file.readUInt32LE(at + 40),
    };
  };
  const symbols = new Map<string, ElfSymbol>();
  for (let index = 0; index < count; index++) {
    const { type, offset, bytes, link } = section(index);
    if (type !== SHT_SYMTAB) continue;
    const names = section(link).offset;
    for (let at = offset; at < offset + bytes; at += SYMBOL_BYTES) {
      const start = names + file.readUInt32LE(at);
      const name = file.toString('latin1', start, file.indexOf(0, start));
      const value = Number(file.readBigUInt64LE(at + 8));
      symbols.set(name, { value, size: Number(file.readBigUInt64LE(at + 16)) });
    }
  }
  return symbols;
}
