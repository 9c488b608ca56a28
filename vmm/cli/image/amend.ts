import type { Command } from 'commander';
import type { ImageName } from '../../backends/disk/image/image-name.ts';
import type { Header } from '../../backends/disk/image/qcow2/header/header-fields.ts';
import { upgradedHeader } from '../../backends/disk/image/qcow2/header/upgrade.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { TsvmError } from '../../errors.ts';
import { print } from '../standard-streams.ts';
import { backingChoice, warnOfContent } from './backing-choice.ts';
import { type ChainVerbOptions, chainVerb, withProgress } from './chain-verb.ts';
import { asksForHelp, type CreationOptions, parseCreationOptions } from './creation-options.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { changeHeader } from './header-change.ts';
import { withImages } from './images.ts';
import { optionList } from './option-values.ts';
import type { SetExitCode } from './verb.ts';

interface AmendOptions extends ChainVerbOptions {
  readonly o: readonly string[];
}

const OPTIONS = `Options that can be changed:
  backing_file=<str>     - File name of a base image, which must have the same content
  backing_fmt=<str>      - Image format of the base image
  compat=<str>           - Compatibility level: upgrades a v2 [0.10] image to v3 [1.1]
  lazy_refcounts=<bool>  - Postpone refcount updates
  size=<size>            - Virtual disk size, not smaller than the current one
`;

const HELP = `
${OPTIONS}
Examples:
  tsvm image amend -o compat=1.1 old.qcow2
  tsvm image amend -o lazy_refcounts=on disk.qcow2`;

export function amendCommand(setExitCode: SetExitCode): Command {
  return chainVerb(setExitCode, amend)
    .addOption(optionList('NAME=VALUE, separated by commas'))
    .addHelpText('after', HELP);
}

async function amend(
  { path, format }: ImageName,
  cli: AmendOptions,
  _signal: AbortSignal,
): Promise<number> {
  if (asksForHelp(cli.o)) {
    print(OPTIONS);
    return EXIT_DONE;
  }
  if (cli.o.length === 0) throw new TsvmError('invalid-config', 'nothing to change: use -o');
  const options = parseCreationOptions(cli.o, 'qcow2');
  refuseFixed(options);
  await withProgress('amend', cli, async (onProgress) => {
    await withImages((images) => {
      const image = images.open(path, { format, backing: cli.backing, readOnly: false });
      if (!(image instanceof Qcow2Image)) {
        throw new TsvmError('invalid-config', `${path} is raw: only qcow2 images have options`);
      }
      refuseImpossible(image, options);
      if (options.sizeBytes !== undefined && options.sizeBytes !== image.sizeBytes) {
        image.resizeSync(options.sizeBytes);
        image.flushSync();
      }
    });
    changeHeader(path, (header) => changed(path, header, options));
    onProgress(1, 1);
  });
  return EXIT_DONE;
}

/** Refuses options that existing clusters depend on. */
function refuseFixed(options: CreationOptions): void {
  const fixed = ['clusterBytes', 'compressionType', 'extendedL2', 'preallocation', 'refcountBits'];
  const files = ['dataFile', 'rawDataFile', 'noCow'];
  if (![...fixed, ...files].some((name) => Object.hasOwn(options, name))) return;
  throw new TsvmError(
    'invalid-config',
    'this option can be given only when an image is created: -o help lists those that can be changed; ' +
      '"tsvm image convert" makes a new image with other options',
  );
}

function refuseImpossible({ header, sizeBytes }: Qcow2Image, options: CreationOptions): void {
  const wrong =
    (options.version === 2 &&
      header.version === 3 &&
      'version 3 cannot be downgraded: use "tsvm image convert -o compat=0.10"') ||
    (options.lazyRefcounts === true &&
      (options.version ?? header.version) === 2 &&
      'lazy_refcounts needs compat=1.1') ||
    (options.sizeBytes !== undefined &&
      options.sizeBytes < sizeBytes &&
      'the disk would lose content: use "tsvm image resize --shrink"');
  if (typeof wrong === 'string') throw new TsvmError('invalid-config', wrong);
}

function changed(path: string, header: Header, options: CreationOptions): Header {
  const { backingFile, backingFormat, lazyRefcounts, version } = options;
  const based = version === 3 ? upgradedHeader(header) : header;
  const lazy = { ...based, lazyRefcounts: lazyRefcounts ?? based.lazyRefcounts };
  if (backingFile === undefined) {
    return backingFormat === undefined ? lazy : { ...lazy, backingFormat };
  }
  if (backingFile === '') return { ...lazy, backingName: undefined, backingFormat: undefined };
  const choice = backingChoice(path, backingFile, backingFormat);
  warnOfContent('amend', choice);
  return { ...lazy, backingName: choice.name, backingFormat: choice.format };
}
