import { Command } from 'commander';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import { benchImage } from '../../backends/disk/image/tools/image-bench.ts';
import { TsvmError } from '../../errors.ts';
import { print } from '../standard-streams.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { withImages } from './images.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  cacheOption,
  formatOption,
  parseNumber,
  parseSizeValue,
  quietOption,
  readsUnlocked,
  unlockedOption,
} from './option-values.ts';
import type { SetExitCode } from './verb.ts';

interface BenchOptions {
  readonly f?: ImageFormat;
  readonly c: number;
  readonly d: number;
  readonly s: number;
  readonly S?: number;
  readonly o: number;
  readonly w?: true;
  readonly pattern: number;
  readonly flushInterval: number;
  readonly drain: boolean;
  readonly q?: true;
  readonly forceShare?: true;
  readonly imageOpts?: true;
  readonly backing: BackingPolicy;
}

const HELP = `
Examples:
  tsvm image bench disk.qcow2
  tsvm image bench -w -c 10000 -d 16 -s 64k --pattern 0xaa --flush-interval 100 scratch.qcow2`;

const COUNT_MAX = 2 ** 31 - 1;

export function benchCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('<file>', 'the image')
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .option('-c <count>', 'number of requests', parseNumber(1, COUNT_MAX), 75_000)
    .option('-d <depth>', 'concurrent requests', parseNumber(1, 1024), 64)
    .option('-s <bytes>', 'size of each request', parseSizeValue, 4096)
    .option('-S <bytes>', 'distance between requests (default: their size)', parseSizeValue)
    .option('-o <bytes>', 'offset of the first request', parseSizeValue, 0)
    .option('-w', 'write instead of read: destroys the content')
    .option('--pattern <byte>', 'byte to write', parseNumber(0, 255), 0)
    .option('--flush-interval <n>', 'writes between flushes', parseNumber(0, COUNT_MAX), 0)
    .option('--no-drain', 'flush without waiting for other requests')
    .addOption(cacheOption('-t', 'for compatibility with qemu-img; has no effect'))
    .addOption(quietOption())
    .addOption(unlockedOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (path: string, options: BenchOptions) => {
      setExitCode(await bench(path, options));
    });
}

function bench(name: string, cli: BenchOptions): Promise<number> {
  const { path, format } = namedImage(name, cli);
  const { backing, c: count, d: depth, drain, flushInterval, o: offset } = cli;
  const { s: bufferBytes, S: stepBytes = bufferBytes, w: writes = false } = cli;
  if (flushInterval > 0 && !writes) {
    throw new TsvmError('invalid-config', '--flush-interval needs -w: reads need no flush');
  }
  if (!drain && flushInterval === 0) {
    throw new TsvmError('invalid-config', '--no-drain needs --flush-interval');
  }
  return withImages(async (images) => {
    const unlocked = readsUnlocked(cli.forceShare, !writes);
    const image = images.open(path, { format, backing, unlocked, readOnly: !writes });
    if (bufferBytes === 0 || offset + bufferBytes > image.sizeBytes) {
      throw new TsvmError('invalid-config', `the requests do not fit into ${path}`);
    }
    const say = (text: string) => {
      if (cli.q !== true) print(`${text}\n`);
    };
    say(
      `Sending ${count} ${writes ? 'write' : 'read'} requests, ${bufferBytes} bytes each, ` +
        `${depth} in parallel (starting at offset ${offset}, step size ${stepBytes})`,
    );
    if (flushInterval > 0) {
      say(`Sending flush every ${flushInterval} ${drain ? '' : 'in-flight '}requests`);
    }
    const pattern = writes ? cli.pattern : undefined;
    const options = { bufferBytes, count, depth, drain, flushInterval, offset, pattern, stepBytes };
    const milliseconds = await benchImage(image, options);
    say(`Run completed in ${(milliseconds / 1000).toFixed(3)} seconds.`);
    return EXIT_DONE;
  });
}
