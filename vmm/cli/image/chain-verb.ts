/** The common part of verbs that move data between an image and its backing images. */
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

/** The command of such a verb, without the verb's own options. */
export function chainVerb<Options extends ChainVerbOptions>(
  setExitCode: SetExitCode,
  run: (image: ImageName, options: Options, signal: AbortSignal) => Promise<number>,
): Command {
  return new Command()
    .argument('<file>', 'the image; no machine may be using it')
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .addOption(cacheOption('-t', 'for compatibility with qemu-img; has no effect'))
    .addOption(progressOption())
    .addOption(quietOption())
    .addOption(backingPolicyOption())
    .action(async (name: string, options: Options) => {
      const image = namedImage(name, options);
      setExitCode(await interruptible((signal) => run(image, options, signal)));
    });
}

/** Runs `work` with a progress display. */
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
