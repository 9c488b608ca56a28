import { type Command, Option } from 'commander';
import { fileIdentity } from '../../backends/disk/file/file-identity.ts';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import { diskFormat } from '../../backends/disk/image/format.ts';
import type { ImageName } from '../../backends/disk/image/image-name.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { mergeDifferences } from '../../backends/disk/image/tools/rebase.ts';
import { TsvmError } from '../../errors.ts';
import { type BackingChoice, backingChoice, warnOfContent } from './backing-choice.ts';
import { type ChainVerbOptions, chainVerb, withProgress } from './chain-verb.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { changeHeader } from './header-change.ts';
import { withImages } from './images.ts';
import { cacheOption, formatOption } from './option-values.ts';
import { depthInChain, isSameFile, refuseSharedFiles } from './same-file.ts';
import type { SetExitCode } from './verb.ts';

interface RebaseOptions extends ChainVerbOptions {
  readonly b: string;
  readonly F?: ImageFormat;
  readonly u?: true;
}

const HELP = `
Examples:
  tsvm image rebase -b newer.qcow2 -F qcow2 overlay.qcow2   the content stays the same
  tsvm image rebase -b "" overlay.qcow2                     no backing file any more
  tsvm image rebase -u -b moved/base.img -F raw overlay.qcow2`;

export function rebaseCommand(setExitCode: SetExitCode): Command {
  return chainVerb(setExitCode, rebase)
    .requiredOption('-b <file>', 'the new backing file; "" for none')
    .addOption(formatOption('-F', 'the backing file’s format'))
    .addOption(
      new Option(
        '-U, --force-share',
        'for compatibility with qemu-img; the image is always written',
      ).hideHelp(),
    )
    .option('-u', 'change only the name, without opening a backing file')
    .addOption(cacheOption('-T', 'for compatibility with qemu-img; has no effect'))
    .addHelpText('after', HELP);
}

async function rebase(
  { path, format }: ImageName,
  cli: RebaseOptions,
  signal: AbortSignal,
): Promise<number> {
  if (diskFormat(path, format, (word) => `-f ${word}`) === 'raw') {
    throw new TsvmError('invalid-config', `${path} is raw: only qcow2 images have a backing file`);
  }
  const choice = cli.b === '' ? undefined : backingChoice(path, cli.b, cli.F);
  if (choice !== undefined) warnOfContent('rebase', choice);
  if (cli.u !== true) await merge({ path, format }, choice, cli, signal);
  else if (choice !== undefined) refuseItself(path, choice.path);
  nameBacking(path, choice);
  return EXIT_DONE;
}

/** Makes the image read the same with either backing file. */
function merge(
  { path, format }: ImageName,
  choice: BackingChoice | undefined,
  cli: RebaseOptions,
  signal: AbortSignal,
): Promise<void> {
  return withImages(async (images) => {
    const access = { backing: cli.backing };
    const newBacking = choice && images.open(choice.path, { ...access, format: choice.format });
    if (depthInChain(path, newBacking) !== undefined) refuseAsItsOwn(path);
    const image = images.open(path, { ...access, format, readOnly: false });
    if (!(image instanceof Qcow2Image)) return;
    if (newBacking !== undefined) refuseSharedFiles(image, [newBacking]);
    await withProgress('rebase', cli, async (onProgress) => {
      await mergeDifferences(image, newBacking, { isSameFile, onProgress, signal });
      onProgress(image.sizeBytes, image.sizeBytes);
    });
  });
}

/** Changes the header without opening another image. */
function refuseItself(path: string, backingPath: string): void {
  const identity = fileIdentity(path);
  if (identity !== undefined && identity === fileIdentity(backingPath)) refuseAsItsOwn(path);
}

function refuseAsItsOwn(path: string): never {
  throw new TsvmError('invalid-config', `${path} would be its own backing file`);
}

/** The last step, which takes effect atomically. */
function nameBacking(path: string, choice: BackingChoice | undefined): void {
  changeHeader(path, (header) => ({
    ...header,
    backingName: choice?.name,
    backingFormat: choice?.format,
  }));
}
