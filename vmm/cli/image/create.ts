import { Command } from 'commander';
import { type ImageFormat, namedFormat } from '../../backends/disk/image/format.ts';
import type { DiskImage } from '../../backends/disk/image/image.ts';
import { TsvmError } from '../../errors.ts';
import { hostFiles } from '../../host/host-files.ts';
import { print } from '../standard-streams.ts';
import { type BackingChoice, backingChoice, headerName, warnOfContent } from './backing-choice.ts';
import {
  asksForHelp,
  type CreationOptions,
  creationOptionsHelp,
  parseCreationOptions,
} from './creation-options.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { type OpenImages, withImages } from './images.ts';
import { interruptible } from './interrupt.ts';
import { namedImage } from './named-image.ts';
import { NewImage, type NewImagePlan, sayInPlace } from './new-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  formatOption,
  optionList,
  parseSizeValue,
  quietOption,
} from './option-values.ts';
import type { SetExitCode } from './verb.ts';

interface CreateOptions {
  readonly f?: ImageFormat;
  readonly b?: string;
  readonly F?: ImageFormat;
  readonly u?: true;
  readonly o: readonly string[];
  readonly q?: true;
  readonly backing: BackingPolicy;
}

const HELP = `
Examples:
  tsvm image create disk.qcow2 20G
  tsvm image create -b base.qcow2 -F qcow2 overlay.qcow2
  tsvm image create -o cluster_size=1M,preallocation=metadata disk.qcow2 20G
  tsvm image create -f qcow2 -o help                       lists the options of -o`;

export function createCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('[file]', 'the image; an existing file is replaced')
    .argument('[size]', 'the size of the disk (default: that of the backing file)', parseSizeValue)
    .addOption(formatOption('-f', 'its format'))
    .option('-b <file>', 'a backing file: the image stores only differences')
    .addOption(formatOption('-F', 'the backing file’s format'))
    .option('-u', 'do not open the backing file, which need not exist')
    .addOption(optionList('NAME=VALUE, separated by commas'))
    .addOption(quietOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (path: string | undefined, size: number | undefined, options: CreateOptions) => {
      if (asksForHelp(options.o)) {
        print(creationOptionsHelp(namedFormat(path ?? '', options.f, sayFormat)));
        return;
      }
      if (path === undefined) throw new TsvmError('invalid-config', 'the file is missing');
      setExitCode(await interruptible((signal) => create(path, size, options, signal)));
    });
}

async function create(
  fileName: string,
  size: number | undefined,
  cli: CreateOptions,
  signal: AbortSignal,
): Promise<number> {
  const named = namedImage(fileName, { f: cli.f });
  const { path } = named;
  const format = namedFormat(path, named.format, sayFormat);
  const given = parseCreationOptions(cli.o, format);
  const { dataFile } = given;
  const options = dataFile === undefined ? given : { ...given, dataFile: headerName(dataFile) };
  const name = cli.b ?? options.backingFile;
  if (name !== undefined && format === 'raw') {
    throw new TsvmError('invalid-config', 'a raw image has no backing file: use -f qcow2');
  }
  const backing =
    name === undefined ? undefined : backingChoice(path, name, cli.F ?? options.backingFormat);
  if (backing === undefined && (cli.F ?? options.backingFormat) !== undefined) {
    throw new TsvmError('invalid-config', 'a backing format needs a backing file: use -b');
  }
  if (size !== undefined && options.sizeBytes !== undefined) {
    throw new TsvmError('invalid-config', 'the size is given twice');
  }
  if (backing !== undefined) warnOfContent('create', backing);
  return await withImages(async (images) => {
    const read = backing && openBacking(images, backing, cli);
    const sizeBytes = size ?? options.sizeBytes ?? (cli.u === true ? undefined : read?.sizeBytes);
    if (sizeBytes === undefined) {
      throw new TsvmError('invalid-config', 'the size is missing: give one such as 20G');
    }
    const plan = { path, format, options, sizeBytes, backing };
    if (cli.q !== true) print(`${describe(plan)}\n`);
    const image = new NewImage(plan, read === undefined ? [] : [read], hostFiles());
    try {
      for (const inPlace of image.writtenInPlace) sayInPlace('create', inPlace, cli.q === true);
      await image.write(signal);
      image.closeFiles();
      await image.appear(true);
    } catch (error) {
      image.vanish();
      throw error;
    }
    return EXIT_DONE;
  });
}

/** Opened for its size, and so that it is not overwritten; with -u it need not exist. */
function openBacking(
  images: OpenImages,
  { format, path }: BackingChoice,
  { backing: policy, u: unchecked }: CreateOptions,
): DiskImage | undefined {
  try {
    // It may be in use.
    return images.open(path, { format, backing: policy, unlocked: true });
  } catch (error) {
    if (unchecked === true && error instanceof TsvmError) return undefined;
    throw error;
  }
}

const sayFormat = (format: string) => `-f ${format}`;

/** qemu-img's output. */
function describe({ backing, format, options, path, sizeBytes }: NewImagePlan): string {
  const facts =
    format === 'raw' ? rawFacts(sizeBytes, options) : qcow2Facts(sizeBytes, backing, options);
  return `Formatting '${path}', fmt=${format} ${facts.join(' ')}`;
}

function rawFacts(sizeBytes: number, { preallocation }: CreationOptions): string[] {
  const size = `size=${sizeBytes}`;
  return preallocation === undefined ? [size] : [size, `preallocation=${preallocation}`];
}

function qcow2Facts(
  sizeBytes: number,
  backing: NewImagePlan['backing'],
  options: CreationOptions,
): string[] {
  const onOff = (value = false) => (value ? 'on' : 'off');
  const facts = [
    `cluster_size=${options.clusterBytes ?? 65_536}`,
    `extended_l2=${onOff(options.extendedL2)}`,
    options.preallocation !== undefined && `preallocation=${options.preallocation}`,
    `compression_type=${options.compressionType ?? 'zlib'}`,
    `size=${sizeBytes}`,
    options.version !== undefined && `compat=${options.version === 2 ? '0.10' : '1.1'}`,
    backing !== undefined && `backing_file=${backing.name} backing_fmt=${backing.format}`,
    options.dataFile !== undefined && `data_file=${options.dataFile}`,
    options.rawDataFile !== undefined && `data_file_raw=${onOff(options.rawDataFile)}`,
    `lazy_refcounts=${onOff(options.lazyRefcounts)}`,
    `refcount_bits=${options.refcountBits ?? 16}`,
  ];
  return facts.filter((fact) => fact !== false);
}
