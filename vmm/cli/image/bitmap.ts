import { Command, Option } from 'commander';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import type { DiskImage } from '../../backends/disk/image/image.ts';
import { BitmapChanges, bitsOf } from '../../backends/disk/image/qcow2/bitmap/bitmap-changes.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { TsvmError } from '../../errors.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { withImages } from './images.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import { formatOption, parseSizeValue } from './option-values.ts';
import { depthInChain } from './same-file.ts';
import type { SetExitCode } from './verb.ts';

interface BitmapOptions {
  readonly f?: ImageFormat;
  readonly b?: string;
  readonly F?: ImageFormat;
  readonly g?: number;
  readonly imageOpts?: true;
}

/** What is done to the bitmap, one after the other as the command line has it. */
type Action =
  | { readonly kind: 'add' | 'remove' | 'clear' | 'enable' | 'disable' }
  | { readonly kind: 'merge'; readonly source: string };

const HELP = `
Actions are done in the order in which they are given.

Examples:
  tsvm image bitmap --add disk.qcow2 monday
  tsvm image bitmap --add --disable -g 1M disk.qcow2 monday
  tsvm image bitmap --merge monday --merge tuesday week.qcow2 week
  tsvm image bitmap --merge monday -b overlay.qcow2 -F qcow2 base.qcow2 monday
  tsvm image bitmap --remove disk.qcow2 monday`;

export function bitmapCommand(setExitCode: SetExitCode): Command {
  const actions: Action[] = [];
  const command = new Command()
    .argument('<file>', 'the image, which no machine may be using')
    .argument('<bitmap>', 'its bitmap')
    .option('--add', 'makes it, with no bit set')
    .option('--remove', 'removes it')
    .option('--clear', 'clears its bits')
    .option('--enable', 'it records what is written from now on')
    .option('--disable', 'it stays as it is')
    .option('--merge <bitmap>', 'sets the bits of another, too')
    .option('-b <file>', 'the image that has what is merged (default: the image itself)')
    .addOption(formatOption('-F', 'the format of that'))
    .option('-g <bytes>', 'with --add: what a bit stands for', parseSizeValue)
    .addOption(formatOption('-f', 'the image’s format'))
    .addOption(imageOptsOption())
    .addOption(new Option('-q', 'as for the other verbs').hideHelp())
    .addHelpText('after', HELP)
    .action(async (file: string, bitmap: string, cli: BitmapOptions) => {
      setExitCode(await changeBitmap(file, bitmap, actions, cli));
    });
  for (const kind of ['add', 'remove', 'clear', 'enable', 'disable'] as const) {
    command.on(`option:${kind}`, () => actions.push({ kind }));
  }
  command.on('option:merge', (source: string) => actions.push({ kind: 'merge', source }));
  return command;
}

function changeBitmap(
  file: string,
  name: string,
  actions: readonly Action[],
  cli: BitmapOptions,
): Promise<number> {
  if (actions.length === 0) {
    throw new TsvmError(
      'invalid-config',
      'say what to do: --add, --remove, --clear, --enable, --disable or --merge',
    );
  }
  const adds = actions.some(({ kind }) => kind === 'add');
  const wrong =
    (cli.g !== undefined && !adds && '-g goes with --add') ||
    (cli.b !== undefined &&
      !actions.some(({ kind }) => kind === 'merge') &&
      '-b goes with --merge') ||
    (cli.F !== undefined && cli.b === undefined && '-F goes with -b');
  if (typeof wrong === 'string') throw new TsvmError('invalid-config', wrong);
  const { path, format } = namedImage(file, cli);
  return withImages((images) => {
    const image = qcow2(images.open(path, { format, backing: 'none', readOnly: false }));
    const other = cli.b === undefined ? undefined : namedImage(cli.b, { f: cli.F });
    const isOther = other !== undefined && depthInChain(other.path, image) !== 0;
    const source = isOther
      ? qcow2(images.open(other.path, { format: other.format, backing: 'none', formatFlag: '-F' }))
      : undefined;
    const changes = new BitmapChanges(image);
    for (const action of actions) act(changes, name, action, cli.g, source);
    changes.store();
    images.bitmapsAreKept(image);
    return EXIT_DONE;
  });
}

function act(
  changes: BitmapChanges,
  name: string,
  action: Action,
  granularity: number | undefined,
  source: Qcow2Image | undefined,
): void {
  switch (action.kind) {
    case 'add':
      changes.add(name, granularity);
      break;
    case 'remove':
      changes.remove(name);
      break;
    case 'clear':
      changes.clear(name);
      break;
    case 'enable':
    case 'disable':
      changes.enable(name, action.kind === 'enable');
      break;
    case 'merge': {
      const { source: from } = action;
      changes.merge(name, source === undefined ? changes.bits(from) : bitsOf(source, from));
    }
  }
}

function qcow2(image: DiskImage): Qcow2Image {
  if (image instanceof Qcow2Image) return image;
  throw new TsvmError(
    'invalid-config',
    `${image.file.path} is ${image.format}: only qcow2 images have bitmaps`,
  );
}
