import { Command } from 'commander';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import { compareImages, type Difference } from '../../backends/disk/image/tools/compare.ts';
import { TsvmError } from '../../errors.ts';
import { openProgress } from '../progress.ts';
import { print, printMessage } from '../standard-streams.ts';
import {
  EXIT_COMPARE_DIFFERENT,
  EXIT_COMPARE_NOT_MAPPED,
  EXIT_COMPARE_NOT_READ,
  EXIT_DONE,
} from './exit-codes.ts';
import { withImages } from './images.ts';
import { interruptible } from './interrupt.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  cacheOption,
  formatOption,
  progressOption,
  quietOption,
  unlockedOption,
} from './option-values.ts';
import type { SetExitCode } from './verb.ts';

interface CompareOptions {
  readonly f?: ImageFormat;
  readonly F?: ImageFormat;
  readonly s?: true;
  readonly p?: true;
  readonly q?: true;
  readonly forceShare?: true;
  readonly imageOpts?: true;
  readonly backing: BackingPolicy;
}

const HELP = `
Exit codes:
  0  the contents are equal         2  an image cannot be opened
  1  they differ                    3  an image's tables cannot be read
                                    4  an image's content cannot be read

Examples:
  tsvm image compare disk.img disk.qcow2
  tsvm image compare -s -f qcow2 -F qcow2 one two`;

export function compareCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('<first>', 'an image')
    .argument('<second>', 'another')
    .addOption(formatOption('-f', 'the format of the first image'))
    .addOption(formatOption('-F', 'the format of the second image'))
    .addOption(imageOptsOption().conflicts('F'))
    .option('-s', 'strict: sizes and allocation must be equal too')
    .addOption(progressOption())
    .addOption(quietOption())
    .addOption(cacheOption('-T', 'for compatibility with qemu-img; has no effect'))
    .addOption(unlockedOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (first: string, second: string, options: CompareOptions) => {
      setExitCode(await interruptible((signal) => compare([first, second], options, signal)));
    });
}

function compare(
  [first, second]: readonly [string, string],
  options: CompareOptions,
  signal: AbortSignal,
): Promise<number> {
  const { backing, forceShare: unlocked = false, q: quiet = false, s: strict = false } = options;
  const say = (text: string) => {
    if (!quiet) print(`${text}\n`);
  };
  return withImages(async (images) => {
    const { f, F, imageOpts } = options;
    const left = namedImage(first, { f, imageOpts });
    const right = namedImage(second, { f: F, imageOpts });
    const access = { backing, unlocked };
    const one = images.open(left.path, { ...access, format: left.format });
    const other = images.open(right.path, { ...access, format: right.format, formatFlag: '-F' });
    const commonBytes = Math.min(one.sizeBytes, other.sizeBytes);
    const progress = openProgress({ title: 'compare', quiet, asked: options.p === true });
    let difference: Difference | undefined;
    try {
      const onProgress = progress.update.bind(progress);
      difference = await compareImages(one, other, { strict, onProgress, signal });
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      printMessage(`tsvm image compare: ${error.message}\n`);
      return error.code === 'invalid-disk' ? EXIT_COMPARE_NOT_MAPPED : EXIT_COMPARE_NOT_READ;
    } finally {
      progress.end();
    }
    const sizesMatter = difference === undefined || offsetOf(difference) >= commonBytes;
    if (one.sizeBytes !== other.sizeBytes && sizesMatter) say('Warning: Image size mismatch!');
    say(describe(difference));
    return difference === undefined ? EXIT_DONE : EXIT_COMPARE_DIFFERENT;
  });
}

function offsetOf(difference: Difference): number {
  return difference.kind === 'size' ? 0 : difference.offset;
}

/** In qemu-img's words. */
function describe(difference: Difference | undefined): string {
  switch (difference?.kind) {
    case undefined:
      return 'Images are identical.';
    case 'size':
      return 'Strict mode: Image size mismatch!';
    case 'allocation':
      return `Strict mode: Offset ${difference.offset} block status mismatch!`;
    case 'content':
      return `Content mismatch at offset ${difference.offset}!`;
  }
}
