import { extname } from 'node:path';
import { TsvmError } from '../../errors.ts';

/** The image formats that can be served. */
export const DISK_FORMATS = ['raw', 'qcow2'] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

/** Names that tell a format which is not raw, and what `qemu-img convert` calls it. */
const FORMATS_BY_NAME: Readonly<Record<string, string>> = {
  '.qcow2': 'qcow2',
  '.qcow': 'qcow',
  '.qed': 'qed',
  '.vdi': 'vdi',
  '.vhd': 'vpc',
  '.vhdx': 'vhdx',
  '.vmdk': 'vmdk',
};

/**
 * The format of a disk image: as the user says, else by the file's name. Never by its content: the
 * guest writes a raw disk's content, and could make it look like an image that names a host file.
 * @throws TsvmError `invalid-disk` for a format that cannot be served
 */
export function diskFormat(path: string, given: string | undefined): DiskFormat {
  const format = given ?? FORMATS_BY_NAME[extname(path).toLowerCase()] ?? 'raw';
  if (isDiskFormat(format)) return format;
  throw new TsvmError(
    'invalid-disk',
    `${path}: ${format} images are not supported; convert it with ` +
      `"qemu-img convert -f ${format} -O qcow2 ${path} disk.qcow2", or say format=raw if it is a ` +
      'raw disk',
  );
}

export function isDiskFormat(name: string): name is DiskFormat {
  return DISK_FORMATS.some((format) => format === name);
}
