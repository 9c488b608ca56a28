import { InvalidArgumentError, Option } from 'commander';
import {
  DISK_FORMATS,
  type DiskFormat,
  IMAGE_FORMATS,
  type ImageFormat,
  isDiskFormat,
  isImageFormat,
} from '../../backends/disk/image/format.ts';
import { TsvmError } from '../../errors.ts';
import { collect } from '../boot-options.ts';
import { parseImageSize } from './image-size.ts';

/** `-f`, `-F`: format of a source. */
export function parseImageFormat(text: string): ImageFormat {
  if (isImageFormat(text)) return text;
  throw new InvalidArgumentError(`There are ${IMAGE_FORMATS.join(', ')}.`);
}

/** `-O`: format of the target. */
export function parseDiskFormat(text: string): DiskFormat {
  if (isDiskFormat(text)) return text;
  throw new InvalidArgumentError(`There are ${DISK_FORMATS.join(' and ')}.`);
}

/** A size in bytes. */
export function parseSizeValue(text: string): number {
  const bytes = parseImageSize(text);
  if (bytes === undefined) {
    throw new InvalidArgumentError(
      'Give a number of bytes, or one with k, M, G, T or P, less than 8P.',
    );
  }
  return bytes;
}

/** A whole number from `least` to `most`. */
export function parseNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Give a number from ${least} to ${most}.`);
  };
}

/** Which files besides the image may be opened; see `openImage`. */
export type BackingPolicy = 'same-folder' | 'allow';

/** QEMU's cache modes; `unsafe`: no sync at the end. */
const CACHE_MODES = ['none', 'writeback', 'writethrough', 'directsync', 'unsafe'] as const;
export type CacheMode = (typeof CACHE_MODES)[number];

export function formatOption(flag: '-f' | '-F' | '-O', what: string): Option {
  return new Option(`${flag} <format>`, what).argParser(
    flag === '-O' ? parseDiskFormat : parseImageFormat,
  );
}

export function backingPolicyOption(): Option {
  return new Option(
    '--backing <files>',
    'whether backing files outside the image’s folder are opened',
  )
    .choices(['same-folder', 'allow'])
    .default('same-folder');
}

export function outputOption(): Option {
  return new Option('--output <form>', 'output format').choices(['human', 'json']).default('human');
}

export function cacheOption(flag: '-t' | '-T', what: string): Option {
  return new Option(`${flag} <cache>`, what).choices(CACHE_MODES);
}

export function quietOption(): Option {
  return new Option('-q', 'print errors only');
}

export function progressOption(): Option {
  return new Option('-p', 'show progress even without a terminal');
}

export function unlockedOption(): Option {
  return new Option('-U, --force-share', 'read it even while another program writes it');
}

/**
 * Whether an image is read without its lock.
 * @throws TsvmError `invalid-config` when it will be written: a writer needs the lock
 */
export function readsUnlocked(forceShare: true | undefined, readOnly: boolean): boolean {
  if (forceShare !== true) return false;
  if (readOnly) return true;
  throw new TsvmError(
    'invalid-config',
    '-U is for reading only: an image in use cannot be written',
  );
}

/** `-o`: may be repeated. */
export function optionList(description: string): Option {
  return new Option('-o <options>', description).argParser(collect(String)).default([], 'none');
}
