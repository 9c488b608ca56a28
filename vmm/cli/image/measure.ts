import { Command, Option } from 'commander';
import type { DiskFormat, ImageFormat } from '../../backends/disk/image/format.ts';
import {
  bitmapsBytes,
  fullyAllocatedBytes,
} from '../../backends/disk/image/qcow2/create/measure.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { contentBytes } from '../../backends/disk/image/tools/measure.ts';
import {
  openSnapshot,
  type SnapshotSelector,
} from '../../backends/disk/image/tools/snapshot-view.ts';
import { TsvmError } from '../../errors.ts';
import { print } from '../standard-streams.ts';
import { parseSnapshotSelector } from './convert.ts';
import { type CreationOptions, parseCreationOptions } from './creation-options.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { withImages } from './images.ts';
import { interruptible } from './interrupt.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  formatOption,
  optionList,
  outputOption,
  parseSizeValue,
  unlockedOption,
} from './option-values.ts';
import { printJson } from './print.ts';
import type { SetExitCode } from './verb.ts';

interface MeasureOptions {
  readonly f?: ImageFormat;
  readonly O: DiskFormat;
  readonly o: readonly string[];
  readonly size?: number;
  readonly l?: SnapshotSelector;
  readonly output: 'human' | 'json';
  readonly forceShare?: true;
  readonly imageOpts?: true;
  readonly backing: BackingPolicy;
}

/** The size of a new image, in bytes. */
interface Measure {
  readonly required: number;
  readonly fullyAllocated: number;
  readonly bitmaps?: number;
}

const HELP = `
Examples:
  tsvm image measure -O qcow2 disk.img              at most what "convert" will write
  tsvm image measure -O qcow2 --size 20G            a new disk, empty and full
  tsvm image measure --output json -O qcow2 -o cluster_size=2M disk.vmdk`;

export function measureCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('[file]', 'the image to convert')
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .addOption(formatOption('-O', 'the format of the target').default('raw'))
    .addOption(optionList('NAME=VALUE of the new image, separated by commas'))
    .option('--size <bytes>', 'size of a new disk, instead of an image', parseSizeValue)
    .option('-l <snapshot>', 'measure a snapshot: an ID or a name', parseSnapshotSelector)
    .addOption(outputOption())
    .addOption(unlockedOption())
    .addOption(new Option('-q', 'for compatibility with qemu-img; has no effect').hideHelp())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (name: string | undefined, cli: MeasureOptions) => {
      setExitCode(await interruptible((signal) => measure(name, cli, signal)));
    });
}

async function measure(
  name: string | undefined,
  cli: MeasureOptions,
  signal: AbortSignal,
): Promise<number> {
  const options = parseCreationOptions(cli.o, cli.O);
  if ((name === undefined) === (cli.size === undefined)) {
    throw new TsvmError('invalid-config', 'give either an image or --size');
  }
  const found =
    name === undefined
      ? sizeOfNew(cli.size ?? 0, 0, cli.O, options)
      : await measureImage(name, cli, options, signal);
  const { required, fullyAllocated, bitmaps } = found;
  if (cli.output === 'json') {
    const told = bitmaps === undefined ? {} : { bitmaps };
    printJson({ ...told, required, 'fully-allocated': fullyAllocated });
  } else {
    const lines = [`required size: ${required}`, `fully allocated size: ${fullyAllocated}`];
    if (bitmaps !== undefined) lines.push(`bitmaps size: ${bitmaps}`);
    print(`${lines.join('\n')}\n`);
  }
  return EXIT_DONE;
}

function measureImage(
  name: string,
  cli: MeasureOptions,
  options: CreationOptions,
  signal: AbortSignal,
): Promise<Measure> {
  const { backing, forceShare: unlocked = false, l: selector, O: target } = cli;
  const { path, format } = namedImage(name, cli);
  return withImages(async (images) => {
    const opened = images.open(path, { format, backing, unlocked });
    const image = selector === undefined ? opened : openSnapshot(opened, selector);
    if (target === 'raw') return sizeOfNew(image.sizeBytes, 0, target, options);
    const { backingFile, clusterBytes = 65_536, version } = options;
    // How much of it the backing file already has is unknown: perhaps nothing.
    const content =
      backingFile === undefined
        ? await contentBytes(image, clusterBytes, { signal })
        : Number.POSITIVE_INFINITY;
    const sizes = sizeOfNew(image.sizeBytes, content, target, options);
    const hasBitmaps = version !== 2 && opened instanceof Qcow2Image && opened.header.version >= 3;
    return hasBitmaps ? { ...sizes, bitmaps: bitmapsBytes(opened, clusterBytes) } : sizes;
  });
}

/** @param content bytes of the disk that are not zero */
function sizeOfNew(
  diskBytes: number,
  content: number,
  format: DiskFormat,
  options: CreationOptions,
): Measure {
  if (format === 'raw') {
    const bytes = Math.ceil(diskBytes / 512) * 512;
    return { required: bytes, fullyAllocated: bytes };
  }
  const { clusterBytes = 65_536, preallocation } = options;
  const { dataFile: _, ...own } = options;
  const fullyAllocated = fullyAllocatedBytes({ ...own, sizeBytes: diskBytes });
  const wholeDisk = Math.ceil(diskBytes / clusterBytes) * clusterBytes;
  const isReserved = preallocation === 'falloc' || preallocation === 'full';
  const needed = isReserved ? wholeDisk : Math.min(content, wholeDisk);
  return { required: fullyAllocated - wholeDisk + needed, fullyAllocated };
}
