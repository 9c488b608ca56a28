import { Command } from 'commander';
import type { DiskFormat } from '../../backends/disk/format.ts';
import { diskFormat } from '../../backends/disk/format.ts';
import { openHostFile } from '../../backends/disk/host-file.ts';
import { parseHeader } from '../../backends/disk/qcow2/header.ts';
import { rewriteHeader } from '../../backends/disk/qcow2/header-encode.ts';
import { Qcow2Image } from '../../backends/disk/qcow2/qcow2-image.ts';
import { mergeDifferences } from '../../backends/disk/tools/rebase.ts';
import { TsvmError } from '../../errors.ts';
import { hostFiles } from '../../kvm/disk.ts';
import { openProgress } from '../progress.ts';
import { type BackingChoice, backingChoice } from './backing-choice.ts';
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
import { depthInChain, isSameFile } from './same-file.ts';

interface RebaseOptions {
  readonly f?: DiskFormat;
  readonly b: string;
  readonly F?: DiskFormat;
  readonly u?: true;
  readonly p?: true;
  readonly q?: true;
  readonly backing: BackingPolicy;
}

const HELP = `
Examples:
  tsvm image rebase -b newer.qcow2 -F qcow2 overlay.qcow2   what it holds stays the same
  tsvm image rebase -b "" overlay.qcow2                     it stands by itself
  tsvm image rebase -u -b moved/base.img -F raw overlay.qcow2`;

export function rebaseCommand(settle: SettleExit): Command {
  return new Command()
    .argument('<file>', 'the image, which no machine may be using')
    .addOption(formatOption('-f', 'its format'))
    .requiredOption('-b <file>', 'its backing file from now on; "": none')
    .addOption(formatOption('-F', 'the backing file’s format'))
    .option('-u', 'changes the name only, and looks at no backing file')
    .addOption(cacheOption('-t', 'as for qemu-img; makes no difference'))
    .addOption(cacheOption('-T', 'as for qemu-img; makes no difference'))
    .addOption(progressOption())
    .addOption(quietOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action(async (path: string, options: RebaseOptions) => {
      settle(await interruptible((signal) => rebase(path, options, signal)));
    });
}

async function rebase(path: string, cli: RebaseOptions, signal: AbortSignal): Promise<number> {
  if (diskFormat(path, cli.f) === 'raw') {
    throw new TsvmError('invalid-config', `${path} is raw: only qcow2 images have a backing file`);
  }
  const choice = cli.b === '' ? undefined : backingChoice(path, cli.b, cli.F);
  if (cli.u !== true) await merge(path, choice, cli, signal);
  nameBacking(path, choice);
  return EXIT_DONE;
}

/** Makes the image independent of which of the two it is based on. */
function merge(
  path: string,
  choice: BackingChoice | undefined,
  cli: RebaseOptions,
  signal: AbortSignal,
): Promise<void> {
  return withImages(async (images) => {
    const access = { backing: cli.backing };
    const newBacking = choice && images.open(choice.path, { ...access, format: choice.format });
    if (depthInChain(path, newBacking) !== undefined) {
      throw new TsvmError('invalid-config', `${path} would be its own backing file`);
    }
    const image = images.open(path, { ...access, format: cli.f, readOnly: false });
    if (!(image instanceof Qcow2Image)) return;
    const progress = openProgress({
      title: 'rebase',
      quiet: cli.q === true,
      asked: cli.p === true,
    });
    const onProgress = progress.update.bind(progress);
    try {
      await mergeDifferences(image, newBacking, { isSameFile, onProgress, signal });
      progress.update(image.sizeBytes, image.sizeBytes);
    } finally {
      progress.end();
    }
  });
}

/** The last step, and the one that counts. */
function nameBacking(path: string, choice: BackingChoice | undefined): void {
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  try {
    const header = parseHeader(file);
    rewriteHeader(file, {
      ...header,
      backingName: choice?.name,
      backingFormat: choice?.format,
    });
  } finally {
    file.close();
  }
}
