import { availableParallelism } from 'node:os';
import { Command, Option } from 'commander';
import {
  type DiskFormat,
  diskFormat,
  type ImageFormat,
  namedFormat,
} from '../../backends/disk/image/format.ts';
import type { DiskImage } from '../../backends/disk/image/image.ts';
import { copyBitmaps } from '../../backends/disk/image/qcow2/bitmap/bitmap-copy.ts';
import type { CompressionKind } from '../../backends/disk/image/qcow2/map/compression.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { convertImage } from '../../backends/disk/image/tools/convert.ts';
import { convertCompressed } from '../../backends/disk/image/tools/convert-compressed.ts';
import {
  openSnapshot,
  type SnapshotSelector,
} from '../../backends/disk/image/tools/snapshot-view.ts';
import { TsvmError } from '../../errors.ts';
import { hostFiles } from '../../host/host-files.ts';
import { Pace } from '../../util/pace.ts';
import { openProgress } from '../progress.ts';
import { print } from '../standard-streams.ts';
import { backingChoice, headerName, warnOfContent } from './backing-choice.ts';
import { asksForHelp, creationOptionsHelp, parseCreationOptions } from './creation-options.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { type OpenImages, withImages } from './images.ts';
import { interruptible } from './interrupt.ts';
import { LostBytes } from './lost-bytes.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import { NewImage, sayInPlace } from './new-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  type CacheMode,
  cacheOption,
  formatOption,
  optionList,
  parseNumber,
  parseSizeValue,
  progressOption,
  quietOption,
  unlockedOption,
} from './option-values.ts';
import { refuseFileInUse, refuseSharedFiles } from './same-file.ts';
import type { SetExitCode } from './verb.ts';

interface ConvertOptions {
  readonly f?: ImageFormat;
  readonly O?: DiskFormat;
  readonly o: readonly string[];
  readonly c?: true;
  readonly compressType?: CompressionKind;
  readonly l?: SnapshotSelector;
  readonly B?: string;
  readonly F?: ImageFormat;
  readonly n?: true;
  readonly targetIsZero?: true;
  readonly targetImageOpts?: true;
  readonly bitmaps?: true;
  readonly skipBrokenBitmaps?: true;
  readonly r?: number;
  readonly C?: true;
  readonly salvage?: true;
  readonly S: number;
  readonly m: number;
  readonly t: CacheMode;
  readonly p?: true;
  readonly q?: true;
  readonly forceShare?: true;
  readonly imageOpts?: true;
  readonly backing: BackingPolicy;
}

const HELP = `
The target appears under its name when it is complete; an existing file is replaced then. With -n, or
when it is a block device, it is written in place.

Examples:
  tsvm image convert disk.img disk.qcow2
  tsvm image convert --compress-type zstd disk.img small.qcow2
  tsvm image convert -l "before the upgrade" disk.qcow2 old.img
  tsvm image convert -n -O raw disk.qcow2 /dev/vg/disk`;

export function convertCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('[files...]', 'images to concatenate, then the new image')
    .addOption(formatOption('-f', 'the format of the source'))
    .addOption(imageOptsOption())
    .addOption(formatOption('-O', 'the format of the target'))
    .addOption(optionList('NAME=VALUE of the new image, separated by commas'))
    .option('-c', 'compresses')
    .addOption(
      new Option('--compress-type <kind>', 'compress with this method').choices(['zlib', 'zstd']),
    )
    .option('-l <snapshot>', 'read a snapshot: an ID or a name', parseSnapshotSelector)
    .option(
      '-B <file>',
      'a backing file with the content of the source’s: only differences are written',
    )
    .addOption(formatOption('-F', 'the backing file’s format'))
    .option('-n', 'write into an existing image')
    .option('--target-is-zero', 'with -n: the target reads as zeroes')
    .option(
      '-S <bytes>',
      'bytes of zeroes that become a hole; 0 for no holes',
      parseSizeValue,
      4096,
    )
    .option('-m <n>', 'parts processed concurrently, 1 to 64', parseNumber(1, 64), 8)
    .option('-r <bytes>', 'limit of bytes written per second', parseSizeValue)
    .option('-C', 'for compatibility with qemu-img; the fastest way of copying is always used')
    .option('--bitmaps', 'copy bitmaps too')
    .option('--skip-broken-bitmaps', 'with --bitmaps: skip those that were not saved')
    .option('--salvage', 'report unreadable parts and write zeroes for them')
    .addOption(
      new Option('--target-image-opts', 'with -n: interpret the target as with --image-opts'),
    )
    .option('-W', 'for compatibility with qemu-img; parts are always written in order')
    .addOption(cacheOption('-t', 'unsafe: do not sync the target to disk').default('unsafe'))
    .addOption(cacheOption('-T', 'for compatibility with qemu-img; has no effect'))
    .addOption(progressOption())
    .addOption(quietOption())
    .addOption(unlockedOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (files: readonly string[], options: ConvertOptions) => {
      const target = files.at(-1);
      if (asksForHelp(options.o)) {
        print(creationOptionsHelp(namedFormat(target ?? '', options.O, sayFormat)));
        return;
      }
      if (target === undefined || files.length < 2) {
        throw new TsvmError('invalid-config', 'two files are needed: the source and the target');
      }
      const conversion = new ConvertRun(files.slice(0, -1), target, options);
      setExitCode(await interruptible((signal) => conversion.run(signal)));
    });
}

/** qemu-img's `snapshot.id=ID,snapshot.name=NAME`, or one of the two. */
export function parseSnapshotSelector(text: string): SnapshotSelector {
  if (!/^snapshot\.(id|name)=/.test(text)) return { idOrName: text };
  const part = (key: string) => new RegExp(`(?:^|,)snapshot\\.${key}=([^,]*)`).exec(text)?.[1];
  return { id: part('id'), name: part('name') };
}

/** One run of the verb. */
class ConvertRun {
  readonly #sourcePaths: readonly string[];
  readonly #path: string;
  readonly #cli: ConvertOptions;
  readonly #format: DiskFormat;
  readonly #compresses: boolean;

  constructor(sourcePaths: readonly string[], path: string, cli: ConvertOptions) {
    this.#sourcePaths = sourcePaths;
    const { targetImageOpts: imageOpts } = cli;
    const named = namedImage(path, { f: cli.O, imageOpts });
    this.#path = named.path;
    this.#cli = cli;
    this.#format =
      cli.n === true
        ? diskFormat(named.path, named.format, sayFormat)
        : namedFormat(named.path, named.format, sayFormat);
    this.#compresses = cli.c === true || cli.compressType !== undefined;
    const { B, l, n, o, targetIsZero } = cli;
    const raw = this.#format === 'raw';
    const wrong =
      (raw && this.#compresses && 'a raw image cannot be compressed: use -O qcow2') ||
      (raw && B !== undefined && 'a raw image has no backing file: use -O qcow2') ||
      (cli.skipBrokenBitmaps && !cli.bitmaps && '--skip-broken-bitmaps needs --bitmaps') ||
      (cli.bitmaps &&
        (raw || sourcePaths.length > 1) &&
        '--bitmaps needs a qcow2 source and a qcow2 target') ||
      (cli.C && this.#compresses && '-C and -c exclude each other') ||
      (cli.C && cli.salvage && '-C and --salvage exclude each other') ||
      (cli.targetImageOpts && !n && '--target-image-opts needs -n') ||
      (cli.r === 0 && 'with a rate of 0 bytes per second this would never end') ||
      (n && o.length > 0 && '-o applies to new images: it cannot be used with -n') ||
      (targetIsZero && !n && '--target-is-zero needs -n') ||
      (targetIsZero && B !== undefined && '--target-is-zero and -B exclude each other') ||
      (l !== undefined && sourcePaths.length > 1 && '-l needs exactly one source image');
    if (typeof wrong === 'string') throw new TsvmError('invalid-config', wrong);
  }

  run(signal: AbortSignal): Promise<number> {
    return withImages(async (images) => {
      const sources = this.#openSources(images);
      refuseFileInUse(this.#path, sources);
      await (this.#cli.n === true
        ? this.#writeExisting(images, sources, signal)
        : this.#writeNew(images, sources, signal));
      return EXIT_DONE;
    });
  }

  #openSources(images: OpenImages): DiskImage[] {
    const { backing, forceShare: unlocked = false, l: selector } = this.#cli;
    const opened = this.#sourcePaths.map((name) => {
      const { path, format } = namedImage(name, this.#cli);
      return images.open(path, { format, backing, unlocked });
    });
    return selector === undefined ? opened : opened.map((image) => openSnapshot(image, selector));
  }

  async #writeExisting(
    images: OpenImages,
    sources: readonly DiskImage[],
    signal: AbortSignal,
  ): Promise<void> {
    const { B, backing, t: cache, targetIsZero = false } = this.#cli;
    const target = images.open(this.#path, { format: this.#format, backing, readOnly: false });
    refuseSharedFiles(target, sources);
    const needed = sizeOf(sources);
    if (target.sizeBytes < needed) {
      throw new TsvmError(
        'invalid-config',
        `${this.#path} has ${target.sizeBytes} bytes, and ${needed} are needed`,
      );
    }
    this.#sayInPlace(this.#path);
    await this.#copy(sources, target, { targetIsZero, leaveUnallocated: B !== undefined }, signal);
    if (this.#cli.bitmaps === true) this.#copyBitmaps(sources, target);
    if (cache !== 'unsafe') await target.flush();
  }

  async #writeNew(
    images: OpenImages,
    sources: readonly DiskImage[],
    signal: AbortSignal,
  ): Promise<void> {
    const { B, backing: policy, compressType, F, t: cache } = this.#cli;
    const parsed = parseCreationOptions(this.#cli.o, this.#format);
    const { dataFile } = parsed;
    const given = dataFile === undefined ? parsed : { ...parsed, dataFile: headerName(dataFile) };
    const name = B ?? given.backingFile;
    const choice =
      name === undefined ? undefined : backingChoice(this.#path, name, F ?? given.backingFormat);
    if (choice !== undefined) warnOfContent('convert', choice);
    const backing = choice && images.open(choice.path, { format: choice.format, backing: policy });
    const plan = {
      path: this.#path,
      format: this.#format,
      options: compressType === undefined ? given : { ...given, compressionType: compressType },
      sizeBytes: given.sizeBytes ?? sizeOf(sources),
      backing: choice && { name: choice.name, format: choice.format },
    };
    if (plan.sizeBytes < sizeOf(sources)) {
      throw new TsvmError('invalid-config', 'the size given by -o is smaller than the source');
    }
    const image = new NewImage(
      plan,
      backing === undefined ? sources : [...sources, backing],
      hostFiles(),
    );
    try {
      for (const path of image.writtenInPlace) this.#sayInPlace(path);
      await image.write(signal);
      const target = image.open(backing);
      try {
        const targetIsZero = image.isZero && backing === undefined;
        const leaveUnallocated = backing !== undefined;
        await this.#copy(sources, target, { targetIsZero, leaveUnallocated }, signal);
        if (this.#cli.bitmaps === true) this.#copyBitmaps(sources, target);
      } finally {
        target.close();
      }
      await image.appear(cache !== 'unsafe');
    } catch (error) {
      image.vanish();
      throw error;
    }
  }

  async #copy(
    sources: readonly DiskImage[],
    target: DiskImage,
    state: { readonly targetIsZero: boolean; readonly leaveUnallocated: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const { m: parallel, p, q: quiet = false, S: sparseBytes } = this.#cli;
    const progress = openProgress({ title: 'convert', quiet, asked: p === true });
    const onProgress = progress.update.bind(progress);
    const pace = this.#cli.r === undefined ? undefined : new Pace(this.#cli.r);
    const lost = new LostBytes();
    const onLost = this.#cli.salvage === true ? lost.add.bind(lost) : undefined;
    const common = { ...state, parallel, onProgress, signal, pace, onLost };
    try {
      if (this.#compresses) {
        const { compression, image } = compressionOf(target, this.#cli.compressType);
        await convertCompressed(sources, image, {
          ...common,
          compression,
          // One more than cores, so that no core waits for the next cluster.
          threads: availableParallelism() + 1,
        });
      } else {
        const copyHoles = sparseBytes === 0;
        await convertImage(sources, target, { ...common, sparseBytes, copyHoles });
      }
    } finally {
      progress.end();
      lost.tellAll();
    }
  }

  #copyBitmaps(sources: readonly DiskImage[], target: DiskImage): void {
    const [source] = sources;
    if (!(source instanceof Qcow2Image) || !(target instanceof Qcow2Image)) {
      throw new TsvmError('invalid-config', '--bitmaps needs a qcow2 source and a qcow2 target');
    }
    copyBitmaps(source, target, this.#cli.skipBrokenBitmaps === true);
  }

  #sayInPlace(path: string): void {
    sayInPlace('convert', path, this.#cli.q === true);
  }
}

const sayFormat = (format: string) => `-O ${format}`;

function sizeOf(images: readonly DiskImage[]): number {
  return images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** The compression method of the target; an image has one for all clusters. */
function compressionOf(
  target: DiskImage,
  asked: CompressionKind | undefined,
): { compression: CompressionKind; image: Qcow2Image } {
  const refuse = (why: string): never => {
    throw new TsvmError('invalid-config', `${target.file.path} ${why}`);
  };
  if (!(target instanceof Qcow2Image)) return refuse('is raw and cannot be compressed');
  const { compressionType: compression, externalDataFile } = target.header;
  if (externalDataFile) refuse('has an external data file, which cannot be compressed');
  if (asked !== undefined && asked !== compression) refuse(`compresses with ${compression}`);
  return { compression, image: target };
}
