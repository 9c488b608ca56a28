import type { Command } from 'commander';
import type { DiskImage } from '../../backends/disk/image/image.ts';
import type { ImageName } from '../../backends/disk/image/image-name.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { commitImage } from '../../backends/disk/image/tools/commit.ts';
import { TsvmError } from '../../errors.ts';
import { Pace } from '../../util/pace.ts';
import { print } from '../standard-streams.ts';
import { type ChainVerbOptions, chainVerb, withProgress } from './chain-verb.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { withImages } from './images.ts';
import { namedImage } from './named-image.ts';
import { parseSizeValue } from './option-values.ts';
import { depthInChain } from './same-file.ts';
import type { SetExitCode } from './verb.ts';

interface CommitOptions extends ChainVerbOptions {
  readonly b?: string;
  readonly d?: true;
  readonly r?: number;
}

/** Chunks read concurrently. */
const PARALLEL = 8;

const HELP = `
The image is empty afterwards, unless -d or -b is given. With -b, images between it and the base may become
invalid, since the base has changed below them.

Examples:
  tsvm image commit overlay.qcow2
  tsvm image commit -d overlay.qcow2
  tsvm image commit -b base.qcow2 top.qcow2`;

export function commitCommand(setExitCode: SetExitCode): Command {
  return chainVerb(setExitCode, commit)
    .option('-b <base>', 'the image of the chain to write to (default: the first backing image)')
    .option('-r <bytes>', 'limit of bytes written per second', parseSizeValue)
    .option('-d', 'do not empty the image: it will be deleted')
    .addHelpText('after', HELP);
}

async function commit(
  { path, format }: ImageName,
  cli: CommitOptions,
  signal: AbortSignal,
): Promise<number> {
  const { b: basePath, backing, q: quiet = false } = cli;
  if (cli.r === 0) {
    throw new TsvmError('invalid-config', 'with a rate of 0 bytes per second this would never end');
  }
  const writableDepth = basePath === undefined ? 1 : await depthOf({ path, format }, basePath, cli);
  // Only the image directly above the base can be emptied without losing content.
  const empties = cli.d !== true && basePath === undefined;
  return await withImages(async (images) => {
    const image = images.open(path, { format, backing, readOnly: !empties, writableDepth });
    const base = layerAt(image, writableDepth);
    if (base === undefined) {
      throw new TsvmError('invalid-config', `${path} has no backing file to commit to`);
    }
    const pace = cli.r === undefined ? undefined : new Pace(cli.r);
    await withProgress('commit', cli, (onProgress) =>
      commitImage(image, base, { parallel: PARALLEL, onProgress, signal, pace }),
    );
    if (empties && image instanceof Qcow2Image) {
      image.emptySync();
      await image.flush();
    }
    if (!quiet) print('Image committed.\n');
    return EXIT_DONE;
  });
}

/** The depth of a file in the chain; 0 is the image itself. */
function depthOf(
  { path, format }: ImageName,
  baseName: string,
  { backing }: CommitOptions,
): Promise<number> {
  return withImages((images) => {
    const { path: basePath } = namedImage(baseName);
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
