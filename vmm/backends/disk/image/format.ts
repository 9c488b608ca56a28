import { extname } from 'node:path';
import { TsvmError } from '../../../errors.ts';
import { signatureOf } from './signatures.ts';

/** Formats that a machine's disk can have. */
export const DISK_FORMATS = ['raw', 'qcow2'] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

/** Formats of other programs, read-only. */
export const FOREIGN_FORMATS = ['vmdk', 'vhdx', 'vpc'] as const;
export type ForeignFormat = (typeof FOREIGN_FORMATS)[number];

/** All formats that can be read. */
export const IMAGE_FORMATS = [...DISK_FORMATS, ...FOREIGN_FORMATS] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** Suffixes of names, and the format in the words of `qemu-img convert`. */
const FORMATS_BY_NAME: Readonly<Record<string, string>> = {
  '.qcow2': 'qcow2',
  '.qcow': 'qcow',
  '.qed': 'qed',
  '.vdi': 'vdi',
  '.vhd': 'vpc',
  '.vpc': 'vpc',
  '.vhdx': 'vhdx',
  '.vmdk': 'vmdk',
};

/** How the user specifies the format, for advice; `format=raw` for a machine's disk. */
export type SayFormat = (format: string) => string;
const sayByOption: SayFormat = (format) => `format=${format}`;

/**
 * The format of a new disk image: what the user specifies, else by the file's name.
 * @throws TsvmError `invalid-disk` for a format that is not supported
 */
export function namedFormat(
  path: string,
  given: string | undefined,
  say: SayFormat = sayByOption,
): DiskFormat {
  const format = given ?? formatOfName(path) ?? 'raw';
  if (isDiskFormat(format)) return format;
  throw new TsvmError('invalid-disk', `${path}: ${unsupported(path, format, say)}`);
}

/**
 * The format of an existing image that will only be read: like {@link diskFormat}, with foreign
 * formats.
 * @throws TsvmError `invalid-disk`
 */
export function imageFormat(
  path: string,
  given: string | undefined,
  say: SayFormat = sayByOption,
): ImageFormat {
  const format = given ?? formatOfName(path) ?? 'raw';
  if (isImageFormat(format) && format !== 'raw') return format;
  const found = given === undefined ? signatureOf(path) : undefined;
  if (found === undefined || !isImageFormat(found)) return diskFormat(path, given, say);
  throw unclear(
    path,
    found,
    `use ${say(found)} if it is one, or ${say('raw')} if it is a raw disk`,
  );
}

/**
 * The format of an existing disk image: what the user specifies, else by the file's name. Never by
 * its content: the guest writes the content of a raw disk, and could make it look like an image
 * that names a file of the host. But where the name says raw and the content looks like another
 * format, the user has to specify it.
 * @throws TsvmError `invalid-disk` in that case, and for a format that cannot be served
 */
export function diskFormat(
  path: string,
  given: string | undefined,
  say: SayFormat = sayByOption,
): DiskFormat {
  const format = namedFormat(path, given, say);
  if (given !== undefined || format !== 'raw') return format;
  const found = signatureOf(path);
  if (found === undefined) return format;
  throw unclear(
    path,
    found,
    isDiskFormat(found)
      ? `use ${say(found)} if it is one, or ${say('raw')} if it is a raw disk`
      : unsupported(path, found, say),
  );
}

export function isDiskFormat(name: string): name is DiskFormat {
  return DISK_FORMATS.some((format) => format === name);
}

export function isImageFormat(name: string): name is ImageFormat {
  return IMAGE_FORMATS.some((format) => format === name);
}

/** The format that a name's suffix implies, if any. */
export function formatOfName(path: string): string | undefined {
  return FORMATS_BY_NAME[extname(path).toLowerCase()];
}

function unclear(path: string, found: string, advice: string): TsvmError {
  return new TsvmError(
    'invalid-disk',
    `${path} begins like a ${found} image, but its name says raw: ${advice}`,
  );
}

function unsupported(path: string, format: string, say: SayFormat): string {
  const isRead = isImageFormat(format);
  return (
    `${format} images are ${isRead ? 'not used or written as they are' : 'not supported'}; ` +
    `convert it with "${isRead ? 'tsvm image' : 'qemu-img'} convert -f ${format} -O qcow2 ${path} disk.qcow2", or use ${say('raw')} if it is a ` +
    'raw disk'
  );
}
