import { Command } from 'commander';
import {
  type DiskFormat,
  type ImageFormat,
  namedFormat,
} from '../../backends/disk/image/format.ts';
import { convertImage } from '../../backends/disk/image/tools/convert.ts';
import { SliceView } from '../../backends/disk/image/tools/slice-view.ts';
import { TsvmError } from '../../errors.ts';
import { hostFiles } from '../../host/host-files.ts';
import { printMessage } from '../standard-streams.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { parseImageSize } from './image-size.ts';
import { withImages } from './images.ts';
import { interruptible } from './interrupt.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import { NewImage, sayInPlace } from './new-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  formatOption,
  unlockedOption,
} from './option-values.ts';
import type { SetExitCode } from './verb.ts';

interface DdOptions {
  readonly f?: ImageFormat;
  readonly O?: DiskFormat;
  readonly forceShare?: true;
  readonly imageOpts?: true;
  readonly backing: BackingPolicy;
}

/** The parsed operands: bytes, and blocks of that size. */
interface Operands {
  readonly input: string;
  readonly output: string;
  readonly blockBytes: number;
  readonly count: number | undefined;
  readonly skip: number;
}

const BLOCK_BYTES_MAX = 2 ** 31 - 1;
/** Chunks read concurrently. */
const PARALLEL = 8;

const HELP = `
Operands:
  if=FILE     the source
  of=FILE     the new image, which appears when it is complete
  bs=BYTES    block size (default: 512)
  count=N     blocks of the source to read, including skipped ones (default: all)
  skip=N      blocks at the start of the source that are not copied

Examples:
  tsvm image dd if=disk.qcow2 of=disk.img
  tsvm image dd -O qcow2 bs=1M skip=1 count=101 if=disk.img of=part.qcow2`;

export function ddCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('<operands...>', 'if=FILE of=FILE [bs=BYTES] [count=N] [skip=N]')
    .addOption(formatOption('-f', 'the format of the source'))
    .addOption(imageOptsOption())
    .addOption(formatOption('-O', 'the format of the target (default: by its name)'))
    .addOption(unlockedOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (words: readonly string[], cli: DdOptions) => {
      const operands = parseOperands(words);
      setExitCode(await interruptible((signal) => dd(operands, cli, signal)));
    });
}

/** @throws TsvmError `invalid-config` */
export function parseOperands(words: readonly string[]): Operands {
  const values = new Map<string, string>();
  for (const word of words) {
    const [, name = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(word) ?? [];
    if (!/^(if|of|bs|count|skip)$/.test(name)) {
      throw new TsvmError('invalid-config', `unknown operand "${name}": see --help`);
    }
    values.set(name, value);
  }
  const number = (name: string, least: number, most: number): number | undefined => {
    const text = values.get(name);
    if (text === undefined) return undefined;
    const value = parseImageSize(text);
    if (value !== undefined && value >= least && value <= most) return value;
    throw new TsvmError('invalid-config', `${name} must be a number from ${least} to ${most}`);
  };
  const [input, output] = [values.get('if'), values.get('of')];
  if (input === undefined || output === undefined) {
    throw new TsvmError('invalid-config', 'two files are needed: if=FILE and of=FILE');
  }
  return {
    input,
    output,
    blockBytes: number('bs', 1, BLOCK_BYTES_MAX) ?? 512,
    count: number('count', 0, Number.MAX_SAFE_INTEGER),
    skip: number('skip', 0, Number.MAX_SAFE_INTEGER) ?? 0,
  };
}

function dd(
  { blockBytes, count, input, output, skip }: Operands,
  cli: DdOptions,
  signal: AbortSignal,
): Promise<number> {
  const { backing, forceShare: unlocked = false } = cli;
  const source = namedImage(input, cli);
  const target = namedImage(output, { f: cli.O });
  return withImages(async (images) => {
    const image = images.open(source.path, { format: source.format, backing, unlocked });
    // As in qemu-img, the count includes skipped blocks.
    const end = count === undefined ? image.sizeBytes : count * blockBytes;
    const offset = Math.min(skip * blockBytes, image.sizeBytes);
    if (skip * blockBytes > image.sizeBytes) {
      printMessage(`tsvm image dd: ${input} is shorter than the skipped part\n`);
    }
    const slice = new SliceView(
      image,
      offset,
      Math.max(0, Math.min(end, image.sizeBytes) - offset),
    );
    const plan = {
      path: target.path,
      format: namedFormat(target.path, target.format, (format) => `-O ${format}`),
      options: {},
      sizeBytes: slice.sizeBytes,
      backing: undefined,
    };
    const copy = new NewImage(plan, [image], hostFiles());
    try {
      for (const path of copy.writtenInPlace) sayInPlace('dd', path, false);
      await copy.write(signal);
      const opened = copy.open(undefined);
      try {
        await convertImage([slice], opened, {
          parallel: PARALLEL,
          sparseBytes: 4096,
          copyHoles: false,
          targetIsZero: copy.isZero,
          leaveUnallocated: false,
          signal,
        });
      } finally {
        opened.close();
      }
      await copy.appear(true);
    } catch (error) {
      copy.vanish();
      throw error;
    }
    return EXIT_DONE;
  });
}
