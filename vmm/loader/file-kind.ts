/** Recognizes common file types, to explain why a file is not a kernel or an initrd. */

import type { ImageSource } from './boot-file.ts';
import { isBzImage } from './bzimage.ts';
import { isElf } from './elf.ts';

interface FileKind {
  readonly what: string;
  /** What the user should do instead. */
  readonly advice: string;
  /** Valid as an initial RAM disk. */
  readonly initrd?: true;
}

const PACKED = (tool: string, by: string): FileKind => ({
  what: `it is compressed by ${by}`,
  advice: `unpack it first ("${tool} FILE >kernel"), or use the distribution’s bzImage directly`,
  initrd: true,
});
const DISK_IMAGE = (what: string, option = '--disk FILE'): FileKind => ({
  what: `it is ${what}`,
  advice: `pass it with ${option}, and a kernel with --kernel`,
});
const OTHER_CPU = (cpu: string): FileKind => ({
  what: `it is a kernel for ${cpu}`,
  advice: 'use one for x86-64',
});
const INITRD: FileKind = {
  what: 'it is a cpio archive, probably an initial RAM disk',
  advice: 'pass it with --initrd, and a kernel with --kernel',
  initrd: true,
};
const PACKAGE: FileKind = {
  what: 'it is a package or an archive',
  advice: 'unpack it: the kernel in a distribution’s package is boot/vmlinuz-*',
};

/** Offset in bytes and the magic bytes there, in hexadecimal; the first match counts. */
const KINDS: readonly (readonly [offset: number, bytes: string, kind: FileKind])[] = [
  [0, '1f8b', PACKED('zcat', 'gzip')],
  [0, 'fd377a585a00', PACKED('xzcat', 'xz')],
  [0, '28b52ffd', PACKED('zstdcat', 'zstd')],
  [0, '425a68', PACKED('bzcat', 'bzip2')],
  [0, '02214c18', PACKED('lz4cat', 'lz4')],
  [0, '04224d18', PACKED('lz4cat', 'lz4')],
  [0, '894c5a4f', PACKED('lzop -dc', 'lzop')],
  [0, '5d0000', PACKED('xzcat --format=lzma', 'lzma')],
  [0, '3037303730', INITRD],
  [0, '514649fb', DISK_IMAGE('a qcow2 disk image', '--disk FILE,format=qcow2')],
  [0, '4b444d56', DISK_IMAGE('a VMDK disk image', '--disk after converting it to qcow2')],
  [0, '7668647866696c65', DISK_IMAGE('a VHDX disk image', '--disk after converting it to qcow2')],
  [0, '636f6e6563746978', DISK_IMAGE('a VHD disk image', '--disk after converting it to qcow2')],
  [0x40, '7f10dabe', DISK_IMAGE('a VDI disk image', '--disk after converting it to qcow2')],
  [0, '4c554b53babe', DISK_IMAGE('an encrypted disk image (LUKS)')],
  [0, '68737173', DISK_IMAGE('a squashfs file system')],
  [0, '58465342', DISK_IMAGE('an XFS file system')],
  [0x38, '41524d64', OTHER_CPU('AArch64')],
  [0x38, '52534305', OTHER_CPU('RISC-V')],
  [0, '27051956', { what: 'it is a U-Boot image', advice: 'extract the kernel from it' }],
  [
    0,
    'd00dfeed',
    { what: 'it is a device tree or a FIT image', advice: 'use a kernel for x86-64' },
  ],
  [
    0,
    '414e44524f494421',
    { what: 'it is an Android boot image', advice: 'extract the kernel from it' },
  ],
  [0, '213c617263683e', PACKAGE],
  [0, 'edabeedb', PACKAGE],
  [0, '504b0304', PACKAGE],
  [257, '7573746172', PACKAGE],
  [0, '2321', { what: 'it is a script', advice: 'use a kernel for x86-64' }],
  // A bzImage with an EFI stub starts like this too, but has been recognized before.
  [
    0,
    '4d5a',
    {
      what: 'it is an EFI program, perhaps a unified kernel image, and tsvm has no EFI firmware',
      advice:
        'use the kernel itself; extract it from a unified kernel image with ' +
        '"objcopy -O binary --only-section=.linux FILE kernel"',
    },
  ],
  [
    0x8001,
    '4344303031',
    {
      what: 'it is an ISO 9660 image',
      advice:
        'extract its kernel and initrd for --kernel and --initrd, and pass it with --disk FILE,ro',
    },
  ],
  [0x438, '53ef', DISK_IMAGE('an ext2, ext3 or ext4 file system')],
  [0x10040, '5f42485266535f4d', DISK_IMAGE('a btrfs file system')],
  [0x200, '4546492050415254', DISK_IMAGE('a partitioned disk (GPT)')],
  [0x1fe, '55aa', DISK_IMAGE('a boot sector, or a disk that starts with one')],
];

/** True when the image has `bytes`, in hexadecimal, at `offset`. */
function hasBytes(image: ImageSource, offset: number, bytes: string): boolean {
  const length = bytes.length / 2;
  if (offset + length > image.sizeBytes) return false;
  const view = image.read(offset, length, 'first bytes');
  return Buffer.from(view.buffer, view.byteOffset, length).toString('hex') === bytes;
}

/** The type of a file that is not a kernel, or undefined when its magic bytes are unknown. */
export function fileKind(image: ImageSource): FileKind | undefined {
  return KINDS.find(([offset, bytes]) => hasBytes(image, offset, bytes))?.[2];
}

/** Why a file is not an initial RAM disk, by its magic bytes; undefined: it may be one. */
export function notAnInitrd(image: ImageSource): string | undefined {
  if (isElf(image) || isBzImage(image)) return 'it is a kernel or a program';
  const kind = fileKind(image);
  // An initrd may also be a file system image, if the kernel has its driver built in.
  return kind === undefined || kind.initrd || / file system$/.test(kind.what)
    ? undefined
    : kind.what;
}

/** An error message for a file that is not a kernel: the reason and what to do. */
export function notAKernel(image: ImageSource): string {
  if (image.sizeBytes === 0) return `${image.name} is empty: use a kernel for x86-64`;
  const kind = fileKind(image);
  const problem = `${image.name} is neither a bzImage nor an ELF file`;
  return kind === undefined
    ? `${problem}: use a kernel for x86-64`
    : `${problem}: ${kind.what}; ${kind.advice}`;
}
