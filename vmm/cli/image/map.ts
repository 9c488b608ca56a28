import { Command, Option } from 'commander';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import { type MapEntry, mapEntries } from '../../backends/disk/image/tools/map.ts';
import { TsvmError } from '../../errors.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { withImages } from './images.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  formatOption,
  outputOption,
  parseSizeValue,
  unlockedOption,
} from './option-values.ts';
import { printLines } from './print.ts';
import type { SetExitCode } from './verb.ts';

interface MapOptions {
  readonly f?: ImageFormat;
  readonly output: 'human' | 'json';
  readonly startOffset: number;
  readonly maxLength: number;
  readonly forceShare?: true;
  readonly imageOpts?: true;
  readonly backing: BackingPolicy;
}

const HELP = `
Examples:
  tsvm image map disk.qcow2
  tsvm image map --output json -f raw disk.img`;

export function mapCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('<file>', 'the image')
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .addOption(outputOption())
    .option('-s, --start-offset <bytes>', 'offset of the first byte', parseSizeValue, 0)
    .addOption(
      new Option('-l, --max-length <bytes>', 'number of bytes')
        .argParser(parseSizeValue)
        .default(Number.MAX_SAFE_INTEGER, 'to its end'),
    )
    .addOption(unlockedOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (path: string, options: MapOptions) => {
      setExitCode(await map(path, options));
    });
}

function map(name: string, options: MapOptions): Promise<number> {
  const { path, format } = namedImage(name, options);
  const { backing, forceShare: unlocked = false, maxLength, startOffset } = options;
  return withImages(async (images) => {
    const image = images.open(path, { format, backing, unlocked });
    const length = Math.min(Math.max(0, image.sizeBytes - startOffset), maxLength);
    const entries = mapEntries(image, startOffset, length);
    const lines = options.output === 'json' ? jsonLines(entries) : tableLines(entries, path);
    await printLines(lines);
    return EXIT_DONE;
  });
}

/** One entry per line, as line-based programs expect. */
function* jsonLines(entries: Iterable<MapEntry>): Generator<string, void, undefined> {
  let separator = '[';
  for (const { start, length, depth, present, zero, data, offset } of entries) {
    const place = offset === undefined ? '' : `, "offset": ${offset}`;
    yield `${separator}{ "start": ${start}, "length": ${length}, "depth": ${depth}, ` +
      `"present": ${present}, "zero": ${zero}, "data": ${data}${place}}`;
    separator = ',\n';
  }
  yield separator === '[' ? '[]\n' : ']\n';
}

function* tableLines(
  entries: Iterable<MapEntry>,
  path: string,
): Generator<string, void, undefined> {
  yield tableLine('Offset', 'Length', 'Mapped to', 'File');
  for (const { start, length, zero, data, offset, filename } of entries) {
    if (!data) continue;
    if (offset === undefined) {
      throw new TsvmError(
        'invalid-config',
        `${path} has compressed clusters, which this output cannot show: use --output json`,
      );
    }
    if (zero) continue;
    yield tableLine(hex(start), hex(length), hex(offset), filename ?? '');
  }
}

function tableLine(...[offset, length, mappedTo, file]: [string, string, string, string]): string {
  return `${offset.padEnd(16)}${length.padEnd(16)}${mappedTo.padEnd(16)}${file}\n`;
}

function hex(bytes: number): string {
  return bytes === 0 ? '0' : `0x${bytes.toString(16)}`;
}
