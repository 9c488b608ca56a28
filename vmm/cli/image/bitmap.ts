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

/** Actions on the bitmap, in the order of the command line. */
type Action =
  | { readonly kind: 'add' | 'remove' | 'clear' | 'enable' | 'disable' }
  | { readonly kind: 'merge'; readonly source: string };

const HELP = `
Actions are carried out in the order given.

Examples:
  tsvm image bitmap --add disk.qcow2 monday
  tsvm image bitmap --add --disable -g 1M disk.qcow2 monday
  tsvm image bitmap --merge monday --merge tuesday week.qcow2 week
  tsvm image bitmap --merge monday -b overlay.qcow2 -F qcow2 base.qcow2 monday
  tsvm image bitmap --remove disk.qcow2 monday`;

export function bitmapCommand(setExitCode: SetExitCode): Command {
  const actions: Action[] = [];
  const command = new Command()
    .argument('<file>', 'the image; no machine may be using it')
    .argument('<bitmap>', 'its bitmap')
    .option('--add', 'create it, with no bit set')
    .option('--remove', 'remove it')
    .option('--clear', 'clear its bits')
    .option('--enable', 'record writes in it from now on')
    .option('--disable', 'record no writes in it')
    .option('--merge <bitmap>', 'add the bits of another bitmap')
    .option('-b <file>', 'the image with the bitmap to merge (default: the image itself)')
    .addOption(formatOption('-F', 'the format of that image'))
    .option('-g <bytes>', 'with --add: bytes of the disk per bit', parseSizeValue)
    .addOption(formatOption('-f', 'the image’s format'))
    .addOption(imageOptsOption())
    .addOption(new Option('-q', 'for compatibility with qemu-img; has no effect').hideHelp())
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
      'nothing to do: use --add, --remove, --clear, --enable, --disable or --merge',
    );
  }
  const adds = actions.some(({ kind }) => kind === 'add');
  const wrong =
    (cli.g !== undefined && !adds && '-g needs --add') ||
    (cli.b !== undefined && !actions.some(({ kind }) => kind === 'merge') && '-b needs --merge') ||
    (cli.F !== undefined && cli.b === undefined && '-F needs -b');
  if (typeof wrong === 'string') throw new TsvmError('invalid-config', wrong);
  const { path, format } = namedImage(file, cli);
  return withImages((images) => {
    const image = qcow2(images.open(path, { format, backing: 'none', readOnly: false }));
    const other = cli.b === undefined ? undefined : namedImage(cli.b, { f: cli.F });
    const isOther = other !== undefined && depthInChain(other.path, image) !== 0;
    const source = isOther
      ? qcow2(images.open(other.path, { format: other.format, backing: 'none', formatFlag: '-F' }))
      : undefined;
    images.leaveBitmaps(image);
    const changes = new BitmapChanges(image);
    for (const action of actions) act(changes, name, action, cli.g, source);
    changes.store();
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
