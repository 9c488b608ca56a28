import type { Fields } from '../../fields.ts';

/** Directory entries of FAT: "FAT Directory Structure" and "FAT Long Directory Entries". */
export interface FatEntry {
  readonly name: string;
  readonly isDirectory: boolean;
  readonly firstCluster: number;
  readonly sizeBytes: number;
}

const ENTRY_BYTES = 32;
const ATTRIBUTE_VOLUME_ID = 0x08;
const ATTRIBUTE_DIRECTORY = 0x10;
const ATTRIBUTE_LONG_NAME = 0x0f;
const FREE = 0xe5;
const END = 0x00;
/** Stands for a first byte of 0xe5. */
const KANJI_E5 = 0x05;
const LAST_LONG_ENTRY = 0x40;
const LONG_ENTRIES_MAX = 20;
/** Where the 13 UTF-16 units of a long entry are. */
const UNIT_OFFSETS = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/** Windows: the name or the extension is in lower case. */
const LOWER_NAME = 0x08;
const LOWER_EXTENSION = 0x10;

/** The entries, without "." and "..". */
export function parseFatDirectory(content: Fields, hasHighCluster: boolean): FatEntry[] {
  const found: FatEntry[] = [];
  let long = new LongName();
  for (let at = 0; at + ENTRY_BYTES <= content.sizeBytes; at += ENTRY_BYTES) {
    const entry = content.part(at, ENTRY_BYTES);
    const first = entry.u8(0);
    if (first === END) break;
    const attributes = entry.u8(11);
    if (first !== FREE && (attributes & 0x3f) === ATTRIBUTE_LONG_NAME) {
      long.add(entry);
      continue;
    }
    const name = long.nameFor(entry) ?? shortName(entry);
    long = new LongName();
    if (first === FREE || attributes & ATTRIBUTE_VOLUME_ID || name === '.' || name === '..')
      continue;
    found.push({
      name,
      isDirectory: (attributes & ATTRIBUTE_DIRECTORY) !== 0,
      firstCluster: entry.u16(26) + (hasHighCluster ? entry.u16(20) * 2 ** 16 : 0),
      sizeBytes: entry.u32(28),
    });
  }
  return found;
}

function shortName(entry: Fields): string {
  const flags = entry.u8(12);
  const part = (offset: number, length: number, isLower: boolean): string => {
    const text = Buffer.from(entry.slice(offset, length)).toString('latin1').trimEnd();
    return isLower ? text.toLowerCase() : text;
  };
  let base = part(0, 8, (flags & LOWER_NAME) !== 0);
  if (entry.u8(0) === KANJI_E5) base = `\xe5${base.slice(1)}`;
  const extension = part(8, 3, (flags & LOWER_EXTENSION) !== 0);
  return extension === '' ? base : `${base}.${extension}`;
}

/** The long name in the entries before a short one, last part first. */
class LongName {
  readonly #parts: string[] = [];
  #nextOrder = 0;
  #checksum = -1;

  add(entry: Fields): void {
    const order = entry.u8(0);
    if (order & LAST_LONG_ENTRY) {
      this.#parts.length = 0;
      this.#checksum = entry.u8(13);
      this.#nextOrder = order & ~LAST_LONG_ENTRY;
    }
    const isNext = (order & ~LAST_LONG_ENTRY) === this.#nextOrder && this.#nextOrder > 0;
    if (!isNext || this.#nextOrder > LONG_ENTRIES_MAX || entry.u8(13) !== this.#checksum) {
      this.#checksum = -1;
      return;
    }
    this.#nextOrder--;
    this.#parts.unshift(String.fromCharCode(...UNIT_OFFSETS.map((offset) => entry.u16(offset))));
  }

  /** Undefined when the entries do not belong to this short one. */
  nameFor(entry: Fields): string | undefined {
    const isComplete = this.#parts.length > 0 && this.#nextOrder === 0;
    if (!isComplete || this.#checksum !== shortNameChecksum(entry)) return undefined;
    const [name] = this.#parts.join('').split('\0');
    return name;
  }
}

/** "ChkSum()". */
function shortNameChecksum(entry: Fields): number {
  return entry.slice(0, 11).reduce((sum, byte) => (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff, 0);
}
