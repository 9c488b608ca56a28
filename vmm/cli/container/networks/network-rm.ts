import { networkFolder, removeLeftBridge } from '../../../container/networks/network-membership.ts';
import {
  type NetworkStore,
  openNetworkStore,
  PREDEFINED,
} from '../../../container/networks/network-store.ts';
import { TsvmError } from '../../../errors.ts';
import { confirm } from '../confirm.ts';
import { openContainers } from '../containers.ts';
import { type Filters, parseFilters } from '../image-filters.ts';
import { forEachName, matchesLabels } from '../object-details.ts';
import { flag, texts } from '../option-values.ts';
import { parseTime } from '../times.ts';
import { collect, type Verb, writeLine } from '../verb.ts';
import { usesNetwork } from './network-use.ts';

export const networkRmVerb: Verb = {
  usage: 'rm NETWORK [NETWORK...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Networks with running containers are kept.

Examples:
  tsvm network rm web`,
  addOptions: (command) =>
    command.option('-f, --force', 'do not fail for a network that does not exist'),
  run: async (names, options) => {
    const store = openNetworkStore();
    return await forEachName(names, async (name) => {
      try {
        await removeNetwork(store, name);
      } catch (error) {
        const isMissing = error instanceof TsvmError && error.code === 'network-not-found';
        if (!isMissing || !flag(options, 'force')) throw error;
      }
    });
  },
};

/** @throws TsvmError `network-not-found`, `network-conflict` */
async function removeNetwork(store: NetworkStore, name: string): Promise<void> {
  if (Object.hasOwn(PREDEFINED, name)) {
    throw new TsvmError(
      'network-conflict',
      `${name} is a pre-defined network and cannot be removed`,
    );
  }
  const network = store.find(name);
  const folder = networkFolder(network);
  await folder.changing(async () => {
    const endpoints = folder.endpoints();
    if (endpoints.length > 0) {
      const names = endpoints.map(({ containerName }) => containerName).join(', ');
      throw new TsvmError(
        'network-conflict',
        `error while removing network: network ${network.name} id ${network.id} has active endpoints (${names})`,
      );
    }
    await store.remove(network.id);
    await removeLeftBridge(network, folder);
    folder.remove();
  });
}

export const networkPruneVerb: Verb = {
  usage: 'prune [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Networks of stopped containers are kept.

Examples:
  tsvm network prune
  tsvm network prune -f --filter until=24h`,
  addOptions: (command) =>
    command
      .option('--filter <filter>', 'only remove these: until=TIME, label=KEY[=VALUE]', collect)
      .option('-f, --force', 'do not ask for confirmation'),
  run: async (_, options) => {
    const filters = parseFilters(texts(options, 'filter'), ['label', 'label!', 'until']);
    const question =
      'WARNING! This will remove all custom networks not used by at least one container.\n' +
      'Are you sure you want to continue?';
    if (!flag(options, 'force') && !(await confirm(question))) return 0;
    printPrunedNetworks(await pruneNetworks(openNetworkStore(), filters));
    return 0;
  },
};

export function printPrunedNetworks(names: readonly string[]): void {
  if (names.length === 0) return;
  writeLine('Deleted Networks:');
  for (const name of names) writeLine(name);
  writeLine('');
}

/** Removes networks that no container has. @returns their names */
export async function pruneNetworks(store: NetworkStore, filters: Filters): Promise<string[]> {
  const containers = await openContainers().list();
  const untilMs = (filters.get('until') ?? []).map(parseTime);
  const removed: string[] = [];
  for (const network of store.list()) {
    const { createdMs, labels, name } = network;
    const isUsed = containers.some(({ config }) => usesNetwork(config, network));
    if (isUsed || !matchesLabels(labels, filters) || untilMs.some((ms) => createdMs >= ms))
      continue;
    try {
      await removeNetwork(store, name);
    } catch (error) {
      if (error instanceof TsvmError) continue;
      throw error;
    }
    removed.push(name);
  }
  return removed;
}
