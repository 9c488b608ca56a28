/** What the verbs have in common that move data between an image and its backing images. */
import { Command } from 'commander';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import type { ImageName } from '../../backends/disk/image/image-name.ts';
import { openProgress, type Progress } from '../progress.ts';
import { interruptible } from './interrupt.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  cacheOption,
  formatOption,
  progressOption,
  quietOption,
} from './option-values.ts';
import type { SetExitCode } from './verb.ts';

export interface ChainVerbOptions {
  readonly f?: ImageFormat;
  readonly p?: true;
  readonly q?: true;
  readonly imageOpts?: true;
  readonly backing: BackingPolicy;
}

/** A command of such a verb, to which its own options are to be added. */
export function chainVerb<Options extends ChainVerbOptions>(
  setExitCode: SetExitCode,
  run: (image: ImageName, options: Options, signal: AbortSignal) => Promise<number>,
): Command {
  return new Command()
    .argument('<file>', 'the image, which no machine may be using')
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .addOption(cacheOption('-t', 'as for qemu-img; makes no difference'))
    .addOption(progressOption())
    .addOption(quietOption())
    .addOption(backingPolicyOption())
    .action(async (name: string, options: Options) => {
      const image = namedImage(name, options);
      setExitCode(await interruptible((signal) => run(image, options, signal)));
    });
}

/** Shows how far `work` is while it goes on. */
export async function withProgress(
  title: string,
  { p, q }: ChainVerbOptions,
  work: (onProgress: Progress['update']) => Promise<void>,
): Promise<void> {
  const progress = openProgress({ title, quiet: q === true, asked: p === true });
  try {
    await work(progress.update.bind(progress));
  } finally {
    progress.end();
  }
}
