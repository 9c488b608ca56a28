/** What a file is that is no kernel, for whoever gave it as one. */
import { isBzImage } from './bzimage.ts';
import { isElf } from './elf.ts';
import type { ImageSource } from './image-file.ts';

interface FileKind {
  readonly what: string;
  /** What to do with it. */
  readonly advice: string;
  /** An initial RAM disk may be such a file. */
  readonly initrd?: true;
}

const PACKED = (tool: string, by: string): FileKind => ({
  what: `it is compressed by ${by}`,
  advice: `unpack it first ("${tool} FILE >kernel"), or give the distribution’s bzImage as it is`,
  initrd: true,
});
const DISK_IMAGE = (what: string, option = '--disk FILE'): FileKind => ({
  what: `it is ${what}`,
  advice: `give it with ${option}, and a kernel with --kernel`,
});
const OTHER_CPU = (cpu: string): FileKind => ({
  what: `it is a kernel for ${cpu}`,
  advice: 'give one for x86-64',
});
const INITRD: FileKind = {
  what: 'it is a cpio archive, as initial RAM disks are',
  advice: 'give it with --initrd, and a kernel with --kernel',
  initrd: true,
};
const PACKAGE: FileKind = {
  what: 'it is a package or an archive',
  advice: 'unpack it: in a distribution’s package the kernel is boot/vmlinuz-*',
};

/** Offset in bytes and the bytes there, in hexadecimal; the first that fits counts. */
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
  [0, '4b444d56', DISK_IMAGE('a VMDK disk image', '--disk once it is converted to qcow2')],
  [0, '7668647866696c65', DISK_IMAGE('a VHDX disk image', '--disk once it is converted to qcow2')],
  [0, '636f6e6563746978', DISK_IMAGE('a VHD disk image', '--disk once it is converted to qcow2')],
  [0x40, '7f10dabe', DISK_IMAGE('a VDI disk image', '--disk once it is converted to qcow2')],
  [0, '4c554b53babe', DISK_IMAGE('an encrypted disk image (LUKS)')],
  [0, '68737173', DISK_IMAGE('a squashfs file system')],
  [0, '58465342', DISK_IMAGE('an XFS file system')],
  [0x38, '41524d64', OTHER_CPU('AArch64')],
  [0x38, '52534305', OTHER_CPU('RISC-V')],
  [0, '27051956', { what: 'it is a U-Boot image', advice: 'give the kernel that is in it' }],
  [
    0,
    'd00dfeed',
    { what: 'it is a device tree or a FIT image', advice: 'give a kernel for x86-64' },
  ],
  [
    0,
    '414e44524f494421',
    { what: 'it is an Android boot image', advice: 'give the kernel that is in it' },
  ],
  [0, '213c617263683e', PACKAGE],
  [0, 'edabeedb', PACKAGE],
  [0, '504b0304', PACKAGE],
  [257, '7573746172', PACKAGE],
  [0, '2321', { what: 'it is a script', advice: 'give a kernel for x86-64' }],
  // A bzImage begins so too, and has been recognized before.
  [
    0,
    '4d5a',
    {
      what: 'it is an EFI program, as a unified kernel image is, and there is no firmware here to run it',
      advice:
        'give the kernel itself; out of a unified kernel image, ' +
        '"objcopy -O binary --only-section=.linux FILE kernel" takes it',
    },
  ],
  [
    0x8001,
    '4344303031',
    {
      what: 'it is an ISO 9660 image',
      advice:
        'give the kernel and the initrd in it with --kernel and --initrd, and it with --disk FILE,ro',
    },
  ],
  [0x438, '53ef', DISK_IMAGE('an ext2, ext3 or ext4 file system')],
  [0x10040, '5f42485266535f4d', DISK_IMAGE('a btrfs file system')],
  [0x200, '4546492050415254', DISK_IMAGE('a partitioned disk (GPT)')],
  [0x1fe, '55aa', DISK_IMAGE('a boot sector, or a disk that begins with one')],
];

/** True when `bytes`, in hexadecimal, stand at `offset`. */
function hasBytes(image: ImageSource, offset: number, bytes: string): boolean {
  const length = bytes.length / 2;
  if (offset + length > image.sizeBytes) return false;
  const view = image.read(offset, length, 'first bytes');
  return Buffer.from(view.buffer, view.byteOffset, length).toString('hex') === bytes;
}

/** What a file without a kernel's first bytes is, as far as its own tell. */
export function fileKind(image: ImageSource): FileKind | undefined {
  return KINDS.find(([offset, bytes]) => hasBytes(image, offset, bytes))?.[2];
}

/** Why a file is no initial RAM disk, as far as its first bytes tell; undefined: it may be one. */
export function notAnInitrd(image: ImageSource): string | undefined {
  if (isElf(image) || isBzImage(image)) return 'it is a kernel or a program';
  const kind = fileKind(image);
  // A file system may be one too, if the kernel has it built in.
  return kind === undefined || kind.initrd || / file system$/.test(kind.what)
    ? undefined
    : kind.what;
}

/** Why a file is no kernel, and what to do about it. */
export function notAKernel(image: ImageSource): string {
  if (image.sizeBytes === 0) return `${image.name} is empty: give a kernel for x86-64`;
  const kind = fileKind(image);
  const problem = `${image.name} is neither a bzImage nor an ELF file`;
  return kind === undefined
    ? `${problem}: give a kernel for x86-64`
    : `${problem}: ${kind.what}; ${kind.advice}`;
}
