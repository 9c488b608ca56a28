import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { ImageDiskConfig } from '../../machine/config.ts';
import { parseDisk } from '../boot-options.ts';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';

/** What is written of the present image must reach its file first. */
const ANSWER_MS = 600_000;

/** `FILE[,overlay][,format=raw|qcow2][,backing=allow]`, as of `--disk`. */
function parseImage(text: string): ImageDiskConfig {
  const { readOnly, limits, ...image } = parseDisk(text);
  if (readOnly || limits !== undefined) {
    throw new InvalidArgumentError(
      'The flags are overlay, format=raw, format=qcow2, backing=allow: whether a disk is read-only ' +
        'does not change while the machine runs, and "tsvm limit" sets limits.',
    );
  }
  return image;
}

const HELP = `
Unmount the disk in the guest first: what the guest has cached of the old image, it takes for the new
one's. Requests in flight are completed, the old image is flushed and closed, and the guest learns the
size of the new one (Linux: "virtio_blk: new size"). A disk that is read-only stays so. The flags are
those of --disk. To add disks and remove them, see "tsvm disk".

Examples:
  tsvm swap-disk web disk1 other.qcow2
  tsvm swap-disk web disk1 other.img,format=raw,overlay`;

export function addSwapDisk(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .argument('<disk>', 'disk0, disk1, …, as "tsvm status" shows it')
    .argument('<file[,flags]>', 'image file or block device', parseImage)
    .addHelpText('after', HELP)
    .action(async (name: string, id: string, config: ImageDiskConfig) => {
      const { format, overlay = false, backing = 'same-folder' } = config;
      const image = {
        ...{ path: resolve(config.path), overlay, backing },
        ...(format !== undefined && { format }),
      };
      await clientOf(name, ANSWER_MS).call('setDisk', { body: { id, image } });
      print(`${id}\n`);
    });
}
