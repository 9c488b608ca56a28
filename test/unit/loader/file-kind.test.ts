/** What people give as a kernel that is none, made by the tools that make such files. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseElf } from '../../../vmm/loader/elf.ts';
import { notAKernel, notAnInitrd } from '../../../vmm/loader/file-kind.ts';
import {
  buildBzImage,
  buildElf,
  bytesImage,
  sampleBytes,
  temporaryDirectory,
  tsvmError,
} from './kernel-fixtures.ts';

const packed = (tool: string, ...args: string[]) =>
  execFileSync(tool, args, { input: sampleBytes(5000), stdio: ['pipe', 'pipe', 'ignore'] });

/** A file that a tool writes. */
function written(t: Parameters<typeof temporaryDirectory>[0], file: string, ...args: string[]) {
  const path = join(temporaryDirectory(t), 'file');
  writeFileSync(path, '');
  truncateSync(path, 2 ** 20);
  execFileSync(file, [...args, path], { stdio: 'ignore' });
  return readFileSync(path);
}

test('files of other types are recognized, with advice', (t) => {
  const table: readonly (readonly [Buffer, RegExp])[] = [
    [packed('gzip'), /compressed by gzip; unpack it first \("zcat FILE/],
    [packed('xz'), /compressed by xz/],
    [packed('xz', '--format=lzma'), /compressed by lzma/],
    [packed('bzip2'), /compressed by bzip2/],
    [packed('zstd'), /compressed by zstd/],
    [packed('lz4', '-l', '-', '-'), /compressed by lz4/],
    [packed('lz4', '-', '-'), /compressed by lz4/],
    [packed('lzop'), /compressed by lzop/],
    [
      execFileSync('cpio', ['-o', '-H', 'newc'], {
        input: '/etc/passwd\n',
        stdio: ['pipe', 'pipe', 'ignore'],
      }),
      /--initrd/,
    ],
    [execFileSync('tar', ['-cC', '/etc', 'passwd']), /package or an archive/],
    [written(t, 'mkfs.ext4', '-q', '-F'), /ext4 file system; pass it with --disk/],
    [
      written(t, 'sh', '-c', 'qemu-img create -q -f qcow2 "$0" 1M'),
      /qcow2 disk image; .*format=qcow2/,
    ],
    [written(t, 'sh', '-c', 'qemu-img create -q -f vmdk "$0" 1M'), /VMDK/],
    [written(t, 'sh', '-c', 'qemu-img create -q -f vdi "$0" 1M'), /VDI/],
    [written(t, 'sh', '-c', 'qemu-img create -q -f vhdx "$0" 1M'), /VHDX/],
    [written(t, 'sh', '-c', 'qemu-img create -q -f vpc "$0" 1M'), /VHD disk/],
  ];
  for (const [bytes, message] of table) {
    const text = notAKernel(bytesImage(bytes, 'it'));
    assert.match(text, /^it is neither a bzImage nor an ELF file: it is /);
    assert.match(text, message);
  }
});

test('files of other kinds are named by the bytes that their formats begin with', () => {
  const at = (offset: number, bytes: string, size = 0x20000) => {
    const file = Buffer.alloc(size);
    file.write(bytes, offset, 'latin1');
    return file;
  };
  const table: readonly (readonly [Buffer, RegExp])[] = [
    [at(0, 'MZ'), /EFI program.* --only-section=\.linux/],
    [at(0, '#!/bin/sh\n'), /script/],
    [at(0x8001, 'CD001'), /ISO 9660/],
    [at(0x38, 'ARM\x64'), /AArch64/],
    [at(0x38, 'RSC\x05'), /RISC-V/],
    [at(0x200, 'EFI PART'), /GPT/],
    [at(0x1fe, '\x55\xaa'), /boot sector/],
    [at(0, '\x27\x05\x19\x56'), /U-Boot/],
    [at(0, '!<arch>\ndebian'), /package/],
  ];
  for (const [bytes, message] of table) assert.match(notAKernel(bytesImage(bytes)), message);
});

test('a truncated or unknown file gets a one-sentence error', () => {
  assert.match(notAKernel(bytesImage(new Uint8Array(0))), /is empty/);
  for (let length = 1; length < 80; length++) {
    assert.match(notAKernel(bytesImage(new Uint8Array(length).fill(7))), /nor an ELF file: use/);
  }
});

test('files that cannot be an initial RAM disk are recognized', (t) => {
  const kernel = buildElf(temporaryDirectory(t)).bytes;
  const cases: readonly (readonly [Uint8Array, RegExp | undefined])[] = [
    [kernel, /kernel or a program/],
    [buildBzImage(packed('gzip')), /kernel or a program/],
    [Buffer.from('QFI\xfb', 'latin1'), /qcow2/],
    [Buffer.from('MZ'), /EFI program/],
    [packed('gzip'), undefined],
    [packed('zstd'), undefined],
    [Buffer.from('070701'), undefined],
    [written(t, 'mkfs.ext4', '-q', '-F'), undefined],
    [Buffer.from('whatever the guest makes of it'), undefined],
  ];
  for (const [bytes, expected] of cases) {
    const problem = notAnInitrd(bytesImage(bytes));
    if (expected === undefined) assert.equal(problem, undefined);
    else assert.match(`${problem}`, expected);
  }
});

test('a Multiboot kernel in a 64-bit ELF file is refused, unless it has a PVH note', (t) => {
  const directory = temporaryDirectory(t);
  const build = (magic: string, words: string) => {
    writeFileSync(
      join(directory, 'k.s'),
      `.text\n.globl _start\n_start: hlt\n.balign 8\n${words}\n`,
    );
    const path = join(directory, magic);
    const options = ['-nostdlib', '-static', '-no-pie', '-Wl,--build-id=none,-Ttext=0x200000'];
    execFileSync('gcc', [...options, 'k.s', '-o', path], { cwd: directory });
    return bytesImage(readFileSync(path));
  };
  const multiboot = tsvmError('invalid-kernel', /Multiboot header: /);
  const one = build('one', '.long 0x1badb002, 3, -(0x1badb002 + 3)');
  assert.throws(() => parseElf(one), multiboot);
  const two = build('two', '.long 0xe85250d6, 0, 16, -(0xe85250d6 + 16)');
  assert.throws(() => parseElf(two), multiboot);
  const wrongSum = build('wrong', '.long 0x1badb002, 3, 4');
  assert.equal(parseElf(wrongSum).entry, 0x200000);
});
