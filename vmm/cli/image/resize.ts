import { Command, InvalidArgumentError, Option } from 'commander';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import type { DiskImage } from '../../backends/disk/image/image.ts';
import {
  PREALLOCATIONS,
  type Preallocation,
} from '../../backends/disk/image/qcow2/create/create-options.ts';
import { preallocate } from '../../backends/disk/image/qcow2/create/preallocate.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { preallocateRaw } from '../../backends/disk/image/tools/preallocate-raw.ts';
import { TsvmError } from '../../errors.ts';
import { print } from '../standard-streams.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { parseImageSize } from './image-size.ts';
import { withImages } from './images.ts';
import { interruptible } from './interrupt.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  formatOption,
  quietOption,
} from './option-values.ts';
import type { SetExitCode } from './verb.ts';

/** A size, or a difference to the current one. */
export interface NewSize {
  readonly sign: '' | '+' | '-';
  readonly bytes: number;
}

interface ResizeOptions {
  readonly f?: ImageFormat;
  readonly preallocation: Preallocation;
  readonly shrink?: true;
  readonly imageOpts?: true;
  readonly q?: true;
  readonly backing: BackingPolicy;
}

const HELP = `
Examples:
  tsvm image resize disk.qcow2 20G
  tsvm image resize disk.img +512M
  tsvm image resize --shrink disk.qcow2 -1G`;

export function resizeCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('<file>', 'the image; no machine may be using it')
    .argument('<size>', 'the new size, or the difference to the current one (+ or -)', parseNewSize)
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .addOption(
      new Option('--preallocation <mode>', 'preallocate the new part')
        .choices(PREALLOCATIONS)
        .default('off'),
    )
    .option('--shrink', 'allow losing the content past a smaller size')
    .addOption(quietOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (path: string, size: NewSize, options: ResizeOptions) => {
      // Otherwise there is nothing to clean up: a signal may end the process at any time.
      const { preallocation } = options;
      const never = new AbortController().signal;
      setExitCode(
        preallocation === 'off'
          ? await resize(path, size, options, never)
          : await interruptible((signal) => resize(path, size, options, signal)),
      );
    });
}

/** Puts `--` before a size that begins with a minus, since it is not an option. */
export function withSizeLast(args: readonly string[]): string[] {
  const last = args.at(-1);
  const others = args.slice(0, -1);
  if (last === undefined || !/^-\d/.test(last) || others.at(-1) === '--') return [...args];
  return [...others, '--', last];
}

export function parseNewSize(text: string): NewSize {
  const [, sign = '', digits = ''] = /^([+-]?)(.*)$/s.exec(text) ?? [];
  const bytes = parseImageSize(digits);
  if (bytes === undefined) {
    throw new InvalidArgumentError(
      'Give a size such as 20G, less than 8P, or a difference such as +512M.',
    );
  }
  return { sign: sign === '+' || sign === '-' ? sign : '', bytes };
}

function resize(
  name: string,
  size: NewSize,
  { backing, preallocation, ...options }: ResizeOptions,
  signal: AbortSignal,
): Promise<number> {
  const { path, format } = namedImage(name, options);
  return withImages(async (images) => {
    const image = images.open(path, { format, backing, readOnly: false });
    const oldBytes = image.sizeBytes;
    const bytes = newBytes(oldBytes, size);
    if (bytes < oldBytes && options.shrink !== true) {
      throw new TsvmError(
        'invalid-config',
        `the content of ${path} past the new end would be lost: if that is intended, use --shrink`,
      );
    }
    if (bytes <= oldBytes && preallocation !== 'off') {
      throw new TsvmError('invalid-config', '--preallocation needs an image that grows');
    }
    image.resizeSync(bytes);
    try {
      await preallocateFrom(image, preallocation, oldBytes, signal);
      await image.flush();
    } catch (error) {
      await undo(image, oldBytes);
      throw error;
    }
    if (options.q !== true) print('Image resized.\n');
    return EXIT_DONE;
  });
}

/** Undoes a growth that failed or was interrupted, and frees the space. */
async function undo(image: DiskImage, oldBytes: number): Promise<void> {
  try {
    if (image.sizeBytes > oldBytes) image.resizeSync(oldBytes);
    await image.flush();
  } catch {
    // The original failure is reported.
  }
}

/** Zero is refused as by qemu-img: it would be a typing error that costs the whole disk. */
function newBytes(oldBytes: number, { sign, bytes }: NewSize): number {
  const sizes = { '': bytes, '+': oldBytes + bytes, '-': oldBytes - bytes };
  const size = sizes[sign];
  if (Number.isSafeInteger(size) && size > 0) return size;
  throw new TsvmError(
    'invalid-config',
    size > 0
      ? `${oldBytes} + ${bytes} bytes are too many: an image has less than 8P`
      : `the new size must be positive: the image has ${oldBytes} bytes`,
  );
}

async function preallocateFrom(
  image: DiskImage,
  preallocation: Preallocation,
  offset: number,
  signal: AbortSignal,
): Promise<void> {
  if (image instanceof Qcow2Image) await preallocate(image, preallocation, offset, signal);
  else await preallocateRaw(image.file, preallocation, offset, image.sizeBytes, signal);
}
