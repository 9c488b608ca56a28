/** `-o NAME=VALUE,...` of `create` and `convert`. */
import {
  type DiskFormat,
  type ImageFormat,
  isImageFormat,
} from '../../backends/disk/image/format.ts';
import { splitOptions } from '../../backends/disk/image/image-name.ts';
import {
  type CreateOptions,
  PREALLOCATIONS,
  type Preallocation,
} from '../../backends/disk/image/qcow2/create/create-options.ts';
import { TsvmError } from '../../errors.ts';
import { parseImageSize } from './image-size.ts';

/** The parsed options of a new image. */
export interface CreationOptions
  extends Pick<
    CreateOptions,
    'version' | 'clusterBytes' | 'refcountBits' | 'lazyRefcounts' | 'extendedL2' | 'compressionType'
  > {
  readonly sizeBytes?: number;
  readonly backingFile?: string;
  readonly backingFormat?: ImageFormat;
  readonly dataFile?: string;
  readonly rawDataFile?: boolean;
  readonly preallocation?: Preallocation;
  /** Turns off copy-on-write on btrfs. */
  readonly noCow?: boolean;
}

interface OptionKind {
  /** The value in the list of options. */
  readonly value: string;
  readonly summary: string;
  /** Whether raw images have it too. */
  readonly raw?: true;
  /** Parses a value; undefined when it is invalid. */
  parse(text: string): CreationOptions | undefined;
}

/** QEMU's spellings of a bool. */
const ON_OFF: Readonly<Record<string, boolean>> = {
  on: true,
  yes: true,
  true: true,
  y: true,
  off: false,
  no: false,
  false: false,
  n: false,
};
const COMPAT: Readonly<Record<string, 2 | 3>> = { '0.10': 2, v2: 2, '1.1': 3, v3: 3 };

/** An object with one field, unless there is no value for it. */
function field<Name extends keyof CreationOptions>(
  name: Name,
  value: CreationOptions[Name] | undefined,
): CreationOptions | undefined {
  return value === undefined ? undefined : { [name]: value };
}

const KINDS: Readonly<Record<string, OptionKind>> = {
  backing_file: {
    value: '<str>',
    summary: 'File name of a base image',
    parse: (text) => field('backingFile', text),
  },
  backing_fmt: {
    value: '<str>',
    summary: 'Image format of the base image',
    parse: (text) => field('backingFormat', isImageFormat(text) ? text : undefined),
  },
  cluster_size: {
    value: '<size>',
    summary: 'qcow2 cluster size',
    parse: (text) => field('clusterBytes', parseImageSize(text)),
  },
  compat: {
    value: '<str>',
    summary: 'Compatibility level (v2 [0.10] or v3 [1.1])',
    parse: (text) => field('version', COMPAT[text]),
  },
  compression_type: {
    value: '<str>',
    summary: 'Compression method used for image cluster compression (zlib or zstd)',
    parse: (text) =>
      field('compressionType', text === 'zlib' || text === 'zstd' ? text : undefined),
  },
  data_file: {
    value: '<str>',
    summary: 'File name of an external data file',
    parse: (text) => field('dataFile', text),
  },
  data_file_raw: {
    value: '<bool (on/off)>',
    summary: 'The external data file must stay valid as a raw image',
    parse: (text) => field('rawDataFile', ON_OFF[text]),
  },
  encryption: {
    value: '<bool (on/off)>',
    summary: 'Encrypt the image: only off',
    parse: (text) => (text === 'off' ? {} : undefined),
  },
  extended_l2: {
    value: '<bool (on/off)>',
    summary: 'Extended L2 tables',
    parse: (text) => field('extendedL2', ON_OFF[text]),
  },
  lazy_refcounts: {
    value: '<bool (on/off)>',
    summary: 'Postpone refcount updates',
    parse: (text) => field('lazyRefcounts', ON_OFF[text]),
  },
  nocow: {
    value: '<bool (on/off)>',
    summary: 'Turn off copy-on-write (valid only on btrfs)',
    raw: true,
    parse: (text) => field('noCow', ON_OFF[text]),
  },
  preallocation: {
    value: '<str>',
    summary: 'Preallocation mode (off, metadata, falloc, full; for raw not metadata)',
    raw: true,
    parse: (text) =>
      field(
        'preallocation',
        PREALLOCATIONS.find((mode) => mode === text),
      ),
  },
  refcount_bits: {
    value: '<num>',
    summary: 'Width of a reference count entry in bits',
    parse: (text) => field('refcountBits', parseCount(text)),
  },
  size: {
    value: '<size>',
    summary: 'Virtual disk size',
    raw: true,
    parse: (text) => field('sizeBytes', parseImageSize(text)),
  },
};

/** Like strtoull(3): decimal, hexadecimal after 0x, octal after 0. */
function parseCount(text: string): number | undefined {
  const match = /^\s*\+?(?:0x([0-9a-f]+)|0([0-7]+)|(0|[1-9]\d*))$/i.exec(text);
  if (match === null) return undefined;
  const [, hex, octal, decimal] = match;
  if (hex !== undefined) return Number.parseInt(hex, 16);
  return octal === undefined ? Number(decimal) : Number.parseInt(octal, 8);
}

/** The output of `-o help`. */
export function creationOptionsHelp(format: DiskFormat): string {
  const lines = Object.entries(KINDS)
    .filter(([, kind]) => format === 'qcow2' || kind.raw)
    .map(([name, { value, summary }]) => `  ${`${name}=${value}`.padEnd(23)}- ${summary}\n`);
  return `Supported ${format} options:\n${lines.join('')}`;
}

/** Whether one of the lists asks for help. */
export function asksForHelp(lists: readonly string[]): boolean {
  return lists.some((list) => splitOptions(list).some((part) => part === 'help' || part === '?'));
}

/**
 * @param lists each as given by one `-o`; later options override earlier ones
 * @throws TsvmError `invalid-config` for an option that the format does not have, or an invalid
 * value
 */
export function parseCreationOptions(
  lists: readonly string[],
  format: DiskFormat,
): CreationOptions {
  let options: CreationOptions = {};
  for (const part of lists.flatMap(splitOptions)) {
    const [, name = '', value = 'on'] = /^([^=]*)(?:=(.*))?$/s.exec(part) ?? [];
    const kind = Object.hasOwn(KINDS, name) ? KINDS[name] : undefined;
    if (kind === undefined || (format === 'raw' && !kind.raw)) {
      throw new TsvmError(
        'invalid-config',
        `${format} images have no option "${name}": -o help lists those they have`,
      );
    }
    const parsed = kind.parse(value);
    if (parsed === undefined) {
      throw new TsvmError(
        'invalid-config',
        `"${value}" is not a valid value for the option ${name}`,
      );
    }
    options = { ...options, ...parsed };
  }
  return options;
}
