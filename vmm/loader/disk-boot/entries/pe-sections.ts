/** Sections of an EFI program: Microsoft's PE Format, "COFF File Header", "Section Table". */
import type { DiskFile } from './boot-entry.ts';

const DOS_HEADER_BYTES = 64;
const HEADER_BYTES = 24;
const SECTION_BYTES = 40;
const SECTIONS_MAX = 128;
const MACHINE_X64 = 0x8664;
const OPTIONAL_HEADER_BYTES_MAX = 1024;

export interface PeSection {
  readonly name: string;
  readonly content: DiskFile;
}

/** The sections of a program for x86-64 that are inside it; undefined when the file is not one. */
export function readPeSections(file: DiskFile): PeSection[] | undefined {
  const dos = readPart(file, 0, DOS_HEADER_BYTES);
  if (dos === undefined || dos.getUint16(0, false) !== 0x4d5a) return undefined;
  const start = dos.getUint32(0x3c, true);
  const header = readPart(file, start, HEADER_BYTES);
  if (header === undefined || header.getUint32(0, false) !== 0x50450000) return undefined;
  const count = header.getUint16(6, true);
  const optionalBytes = header.getUint16(20, true);
  if (header.getUint16(4, true) !== MACHINE_X64) return undefined;
  if (count > SECTIONS_MAX || optionalBytes > OPTIONAL_HEADER_BYTES_MAX) return undefined;
  const table = readPart(file, start + HEADER_BYTES + optionalBytes, count * SECTION_BYTES);
  if (table === undefined) return undefined;
  const sections: PeSection[] = [];
  for (let at = 0; at < table.byteLength; at += SECTION_BYTES) {
    const name = latin1(table, at, 8).replace(/\0+$/, '');
    // The size in memory is the content's; in the file it is padded.
    const sizeBytes = Math.min(table.getUint32(at + 8, true), table.getUint32(at + 16, true));
    const offset = table.getUint32(at + 20, true);
    if (offset + sizeBytes > file.sizeBytes) continue;
    sections.push({ name, content: filePart(file, name, offset, sizeBytes) });
  }
  return sections;
}

function filePart(file: DiskFile, name: string, start: number, sizeBytes: number): DiskFile {
  return {
    place: `${file.place} (${name})`,
    sizeBytes,
    identity: `${file.place} (${name})`,
    read: (offset, length) => file.read(start + offset, length),
  };
}

function readPart(file: DiskFile, offset: number, length: number): DataView | undefined {
  if (offset + length > file.sizeBytes) return undefined;
  const bytes = file.read(offset, length);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function latin1(view: DataView, offset: number, length: number): string {
  return Buffer.from(view.buffer, view.byteOffset + offset, length).toString('latin1');
}
