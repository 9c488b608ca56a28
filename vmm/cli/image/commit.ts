import { Command } from 'commander';
import type { DiskFormat } from '../../backends/disk/format.ts';
import type { DiskImage } from '../../backends/disk/image.ts';
import { Qcow2Image } from '../../backends/disk/qcow2/qcow2-image.ts';
import { commitImage } from '../../backends/disk/tools/commit.ts';
import { TsvmError } from '../../errors.ts';
import { openProgress } from '../progress.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { withImages } from './images.ts';
import { interruptible } from './interrupt.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  cacheOption,
  formatOption,
  progressOption,
  quietOption,
} from './option-values.ts';
import type { SettleExit } from './run-image.ts';
import { depthInChain } from './same-file.ts';

interface CommitOptions {
  readonly f?: DiskFormat;
  readonly b?: string;
  readonly d?: true;
  readonly p?: true;
  readonly q?: true;
  readonly backing: BackingPolicy;
}

/** Chunks that are read at a time. */
const PARALLEL = 8;

const HELP = `
The image is empty afterwards, unless -d or -b is given. With -b, images between it and the base may
have lost their meaning: the base has changed below them.

Examples:
  tsvm image commit overlay.qcow2
  tsvm image commit -d overlay.qcow2
  tsvm image commit -b base.qcow2 top.qcow2`;

export function commitCommand(settle: SettleExit): Command {
  return new Command()
    .argument('<file>', 'the image, which no machine may be using')
    .addOption(formatOption('-f', 'its format'))
    .option('-b <base>', 'which image of the chain is written (default: the first backing image)')
    .option('-d', 'leaves the image as it is: it will be deleted')
    .addOption(cacheOption('-t', 'as for qemu-img; makes no difference'))
    .addOption(progressOption())
    .addOption(quietOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (path: string, options: CommitOptions) => {
      settle(await interruptible((signal) => commit(path, options, signal)));
    });
}

async function commit(path: string, cli: CommitOptions, signal: AbortSignal): Promise<number> {
  const { b: basePath, backing, f: format, q: quiet = false } = cli;
  const writableDepth = basePath === undefined ? 1 : await depthOf(path, basePath, cli);
  // Only the image right above the base can be emptied without losing what is in it.
  const empties = cli.d !== true && basePath === undefined;
  return await withImages(async (images) => {
    const image = images.open(path, { format, backing, readOnly: !empties, writableDepth });
    const base = layerAt(image, writableDepth);
    if (base === undefined) {
      throw new TsvmError('invalid-config', `${path} has no backing file to commit to`);
    }
    const progress = openProgress({ title: 'commit', quiet, asked: cli.p === true });
    const onProgress = progress.update.bind(progress);
    try {
      await commitImage(image, base, { parallel: PARALLEL, onProgress, signal });
    } finally {
      progress.end();
    }
    if (empties && image instanceof Qcow2Image) {
      image.emptySync();
      await image.flush();
    }
    if (!quiet) process.stdout.write('Image committed.\n');
    return EXIT_DONE;
  });
}

/** How far down the chain a file is; 0 is the image itself. */
function depthOf(
  path: string,
  basePath: string,
  { backing, f: format }: CommitOptions,
): Promise<number> {
  return withImages((images) => {
    const depth = depthInChain(basePath, images.open(path, { format, backing }));
    if (depth !== undefined && depth > 0) return depth;
    throw new TsvmError('invalid-config', `${basePath} is not in the backing chain of ${path}`);
  });
}

function layerAt(image: DiskImage, depth: number): DiskImage | undefined {
  let layer: DiskImage | undefined = image;
  for (let at = 0; at < depth; at++) layer = layer?.backing;
  return layer;
}
