import { Command, InvalidArgumentError, Option } from 'commander';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
} from '../../backends/disk/image/qcow2/snapshot/snapshots.ts';
import { TsvmError } from '../../errors.ts';
import { print } from '../standard-streams.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { withImages } from './images.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import { formatOption, quietOption, readsUnlocked, unlockedOption } from './option-values.ts';
import { snapshotLines } from './snapshot-lines.ts';
import type { SetExitCode } from './verb.ts';

interface SnapshotOptions {
  readonly f?: ImageFormat;
  readonly l?: true;
  readonly c?: string;
  readonly a?: string;
  readonly d?: string;
  readonly forceShare?: true;
  readonly imageOpts?: true;
}

const HELP = `
Without -c, -a or -d, the snapshots are listed.

Examples:
  tsvm image snapshot -l disk.qcow2
  tsvm image snapshot -c "before the upgrade" disk.qcow2
  tsvm image snapshot -a 1 disk.qcow2`;

export function snapshotCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('<file>', 'the image; no machine may be using it')
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .addOption(new Option('-l', 'list the snapshots').conflicts(['c', 'a', 'd']))
    .addOption(new Option('-c <name>', 'takes one').conflicts(['a', 'd']).argParser(once))
    .addOption(new Option('-a <snapshot>', 'restore the disk').conflicts('d').argParser(once))
    .addOption(new Option('-d <snapshot>', 'deletes one').argParser(once))
    .addOption(quietOption())
    .addOption(unlockedOption())
    .addHelpText('after', HELP)
    .action(async (path: string, options: SnapshotOptions) => {
      setExitCode(await snapshot(path, options));
    });
}

/** One action at a time: a repeated option is a mistake. */
function once(value: string, previous: unknown): string {
  if (previous === undefined) return value;
  throw new InvalidArgumentError('Only one snapshot at a time.');
}

function snapshot(name: string, options: SnapshotOptions): Promise<number> {
  const { path, format } = namedImage(name, options);
  const { a: toApply, c: toCreate, d: toDelete } = options;
  const readOnly = toApply === undefined && toCreate === undefined && toDelete === undefined;
  const unlocked = readsUnlocked(options.forceShare, readOnly);
  return withImages((images) => {
    // Backing images are neither read nor written.
    const image = images.open(path, { format, readOnly, unlocked, backing: 'none' });
    if (!(image instanceof Qcow2Image)) {
      if (readOnly) return EXIT_DONE;
      throw new TsvmError('invalid-config', `${path} is raw: only qcow2 images have snapshots`);
    }
    if (toCreate !== undefined) createSnapshot(image, toCreate);
    else if (toApply !== undefined) {
      images.dropBitmaps(image);
      applySnapshot(image, toApply);
    } else if (toDelete !== undefined) deleteSnapshot(image, toDelete);
    else {
      const snapshots = listSnapshots(image);
      if (snapshots.length > 0) print(`${snapshotLines(snapshots).join('\n')}\n`);
    }
    return EXIT_DONE;
  });
}
