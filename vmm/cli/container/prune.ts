import type { Command } from 'commander';
import { openNetworkStore } from '../../container/networks/network-store.ts';
import { pruneImages } from '../../container/remove.ts';
import { openVolumeStore } from '../../container/volumes/volume-store.ts';
import { MachineTemplates } from '../../container/warm-start/machine-templates.ts';
import { confirm } from './confirm.ts';
import { PRUNE_CONTAINERS, printPruned, pruneContainers } from './container-prune.ts';
import { openContainers } from './containers.ts';
import { booleanFilter, filterImages, isDangling, parseFilters } from './image-filters.ts';
import { printPrunedNetworks, pruneNetworks } from './networks/network-rm.ts';
import { openStore } from './open-store.ts';
import { flag, texts } from './option-values.ts';
import { humanSize } from './units.ts';
import { collect, type Verb, writeLine } from './verb.ts';
import { printPrunedVolumes, pruneVolumes } from './volumes/volume-prune.ts';

const FILTERS = ['until', 'label', 'label!', 'dangling'];
const DANGLING = 'all dangling images';
const PRUNE_NETWORKS = 'all networks not used by at least one container';
const PRUNE_VOLUMES = 'all anonymous volumes not used by at least one container';
const ALL = 'all images without at least one container associated to them';

const TEMPLATES = 'all machines that were saved for warm starts';

export const pruneVerb: Verb = {
  usage: 'prune [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Disk images (tsvm image create, info, ...) are your own files and are never pruned.

Examples:
  tsvm image prune
  tsvm image prune -a -f --filter until=240h`,
  addOptions: addPruneOptions,
  run: (_, options) =>
    prune(options, (all) => `WARNING! This will remove ${all ? `${ALL}.` : `${DANGLING}.`}`),
};

export const systemPruneVerb: Verb = {
  usage: 'prune [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Examples:
  tsvm system prune
  tsvm system prune -a -f`,
  addOptions: (command) =>
    addPruneOptions(command).option('--volumes', 'remove anonymous volumes that no container uses'),
  run: (_, options) => {
    const volumes = flag(options, 'volumes') ? [PRUNE_VOLUMES] : [];
    const lines = (all: boolean) => [
      ...[PRUNE_CONTAINERS, PRUNE_NETWORKS, ...volumes],
      all ? ALL : DANGLING,
      ...(all ? [TEMPLATES] : []),
    ];
    return prune(
      options,
      (all) =>
        `WARNING! This will remove:\n${lines(all)
          .map((line) => `  - ${line}\n`)
          .join('')}`,
      true,
    );
  },
};

function addPruneOptions(command: Command): Command {
  return command
    .option('-a, --all', 'remove all unused images, not just dangling ones')
    .option('--filter <filter>', 'only remove these: until=TIME, label=KEY[=VALUE]', collect)
    .option('-f, --force', 'do not ask for confirmation');
}

async function prune(
  options: Readonly<Record<string, unknown>>,
  warning: (all: boolean) => string,
  withContainers = false,
): Promise<number> {
  const filters = parseFilters(texts(options, 'filter'), FILTERS);
  const all = flag(options, 'all') || booleanFilter(filters, 'dangling') === false;
  const question = `${warning(all)}\nAre you sure you want to continue?`;
  if (!flag(options, 'force') && !(await confirm(question))) return 0;
  const store = openStore();
  const rest = new Map([...filters].filter(([name]) => name !== 'dangling'));
  let containerBytes = 0;
  if (withContainers) {
    const pruned = await pruneContainers(openContainers(), rest);
    printPruned(pruned.ids);
    containerBytes = pruned.bytes;
    printPrunedNetworks(await pruneNetworks(openNetworkStore(), rest));
    if (all) containerBytes += MachineTemplates.ofUser()?.removeAll() ?? 0;
    if (flag(options, 'volumes')) {
      const { bytes: volumeBytes, names } = await pruneVolumes(openVolumeStore(), false, rest);
      printPrunedVolumes(names);
      containerBytes += volumeBytes;
    }
  }
  const used = new Set(store.uses().map(({ imageId }) => imageId));
  const images = filterImages(store, rest).filter(
    (image) => (all || isDangling(image)) && !used.has(image.id),
  );
  const { untagged, deleted, bytes } = await pruneImages(store, images);
  if (untagged.length + deleted.length > 0) {
    writeLine('Deleted Images:');
    for (const name of untagged) writeLine(`untagged: ${name}`);
    for (const id of deleted) writeLine(`deleted: ${id}`);
    writeLine('');
  }
  writeLine(`Total reclaimed space: ${humanSize(bytes + containerBytes)}`);
  return 0;
}
