/** Kernels to load: a real ELF file by gcc, packed into bzImages by the tools that Linux uses. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { TsvmError, type TsvmErrorCode } from '../../../vmm/errors.ts';
import { checkRange, type ImageSource } from '../../../vmm/loader/boot-file.ts';
import type { CompressionFormat } from '../../../vmm/loader/bzimage.ts';

/** A directory that goes when the test ends. */
export function temporaryDirectory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'tsvm-loader-test-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Bytes as an image. */
export function bytesImage(bytes: Uint8Array, name = 'image'): ImageSource {
  const image: ImageSource = {
    name,
    sizeBytes: bytes.byteLength,
    read(offset, length, what) {
      checkRange(image, offset, length, what);
      return new DataView(Uint8Array.from(bytes.subarray(offset, offset + length)).buffer);
    },
  };
  return image;
}

/** For `assert.throws` and `assert.rejects`: a TsvmError of this code whose message matches. */
export function tsvmError(code: TsvmErrorCode, message: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof TsvmError, `not a TsvmError: ${error}`);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}

/** Deterministic bytes, half of which compress. */
export function sampleBytes(length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 64 < length; i++) {
    blocks.push(createHash('sha256').update(`block ${i}`).digest(), Buffer.alloc(32, i & 0x7f));
  }
  return Buffer.concat(blocks).subarray(0, length);
}

const SOURCE = `
  .section .text.head, "ax"
  .globl start, pvh_start
start:      hlt
            .skip 15, 0x90
pvh_start:  hlt
            .skip 0x1234, 0x90
  .data
  .incbin "data.bin"
  .ascii "the last bytes of .data"
  .bss
  .skip 0x5678
`;
const PVH_NOTE = `
  .section .note.Xen, "a", @note
  .long 4, 4, 0x1234      # another note of Xen's first
  .asciz "Xen"
  .long 1
  .long 4, DESC_SIZE, 18
  .asciz "Xen"
  DESC_WORD pvh_start
`;
/** Three segments, one without a bss, one whose virtual and physical addresses differ. */
const LINKER_SCRIPT = `
ENTRY(start)
PHDRS { text PT_LOAD; data PT_LOAD; note PT_NOTE; }
SECTIONS {
  . = 0x1000000;
  .text : { *(.text.head) *(.text) } :text
  .note.Xen : { *(.note.Xen) } :text :note
  . = DATA_START + 0x840;
  .data : AT(0x1200840) { *(.data) } :data
  .bss : { *(.bss) } :data
  /DISCARD/ : { *(.note.gnu.*) *(.comment) }
}
`;

/** The virtual address of the data. */
const DATA_START = { 32: '0xc1200000', 64: '0xffffffff81200000' };

export interface KernelFile {
  readonly path: string;
  readonly bytes: Buffer;
}

/** Builds the ELF kernel, with a PVH note whose word is this many bytes wide, or without one. */
export function buildElf(directory: string, pvhWord?: 4 | 8, bits: 32 | 64 = 64): KernelFile {
  writeFileSync(join(directory, 'data.bin'), sampleBytes(300_000));
  const note = PVH_NOTE.replace('DESC_SIZE', String(pvhWord)).replace(
    'DESC_WORD',
    pvhWord === 8 ? '.quad' : '.long',
  );
  writeFileSync(join(directory, 'kernel.s'), pvhWord ? SOURCE + note : SOURCE);
  const script = LINKER_SCRIPT.replace('DATA_START', DATA_START[bits]);
  writeFileSync(join(directory, 'kernel.ld'), script);
  const path = join(directory, `vmlinux-${pvhWord ?? 'plain'}-${bits}`);
  const options = [
    `-m${bits}`,
    '-nostdlib',
    '-static',
    '-no-pie',
    '-Wl,--build-id=none',
    '-Wl,-T,kernel.ld',
  ];
  execFileSync('gcc', [...options, 'kernel.s', '-o', path], { cwd: directory });
  return { path, bytes: readFileSync(path) };
}

/** Commands of Linux's scripts/Makefile.lib and scripts/xz_wrap.sh, from input to output. */
const PACKERS: Record<CompressionFormat, readonly [string, ...string[]]> = {
  gzip: ['gzip', '-n', '-f', '-9'],
  xz: ['xz', '--check=crc32', '--threads=1', '--x86', '--lzma2=dict=128MiB'],
  lzma: ['lzma', '-9'],
  bzip2: ['bzip2', '-9'],
  lzo: ['lzop', '-9'],
  lz4: ['lz4', '-l', '-9', '-', '-'],
  zstd: ['zstd', '-22', '--ultra'],
};
export const FORMATS = Object.keys(PACKERS) as CompressionFormat[];

/** Packs as a kernel's build does: each format but gzip gets the size appended. */
export function packPayload(format: CompressionFormat, bytes: Uint8Array): Buffer {
  const [file, ...args] = PACKERS[format];
  const packed = execFileSync(file, args, {
    input: bytes,
    maxBuffer: 2 ** 28,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  return format === 'gzip' ? packed : Buffer.concat([packed, u32(bytes.byteLength)]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Setup sectors of {@link buildBzImage}, the boot sector not counted. */
const SETUP_SECTORS = 3;
/** Where its protected-mode code begins. */
export const CODE_OFFSET = (SETUP_SECTORS + 1) * 512;
/** Where its payload begins, from the code on. */
export const PAYLOAD_OFFSET = 0x2c4;

/** A bzImage of protocol 2.15 with a right header around a payload. */
export function buildBzImage(payload: Uint8Array, initSize = 0x1050000): Buffer {
  const codeSize = Math.ceil((PAYLOAD_OFFSET + payload.byteLength + 64) / 16) * 16;
  const image = Buffer.alloc(CODE_OFFSET + codeSize);
  image.writeUInt8(SETUP_SECTORS, 0x1f1);
  image.writeUInt32LE(codeSize / 16, 0x1f4);
  image.writeUInt16LE(0xaa55, 0x1fe);
  image.writeUInt16BE(0xeb6a, 0x200);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x020f, 0x206);
  image.writeUInt8(1, 0x211);
  image.writeUInt32LE(0x7fffffff, 0x22c);
  image.writeUInt32LE(0x200000, 0x230);
  image.writeUInt8(1, 0x234);
  image.writeUInt16LE(0x63, 0x236);
  image.writeUInt32LE(2047, 0x238);
  image.writeUInt32LE(PAYLOAD_OFFSET, 0x248);
  image.writeUInt32LE(payload.byteLength, 0x24c);
  image.writeBigUInt64LE(0x1000000n, 0x258);
  image.writeUInt32LE(initSize, 0x260);
  image.fill(0x90, CODE_OFFSET, CODE_OFFSET + PAYLOAD_OFFSET);
  image.set(payload, CODE_OFFSET + PAYLOAD_OFFSET);
  return image;
}

/** A generator of numbers in [0, limit), the same in every run. */
export function seededRandom(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}
