import { isActive } from '../../container/containers/container-state.ts';
import type { ContainerStore } from '../../container/containers/container-store.ts';
import { TsvmError } from '../../errors.ts';
import { confirm } from './confirm.ts';
import { filterContainers } from './container-filters.ts';
import { allocatedBytes } from './container-size.ts';
import { openContainers } from './containers.ts';
import { type Filters, parseFilters } from './image-filters.ts';
import { openStore } from './open-store.ts';
import { flag, texts } from './option-values.ts';
import { removeContainer } from './rm.ts';
import { humanSize } from './units.ts';
import { collect, type Verb, writeLine } from './verb.ts';

export const PRUNE_CONTAINERS = 'all stopped containers';
const FILTERS = ['label', 'label!', 'until'];

export const containerPruneVerb: Verb = {
  usage: 'prune [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Examples:
  tsvm container prune
  tsvm container prune -f --filter until=24h`,
  addOptions: (command) =>
    command
      .option('--filter <filter>', 'only remove these: until=TIME, label=KEY[=VALUE]', collect)
      .option('-f, --force', 'do not ask for confirmation'),
  run: async (_, options) => {
    const filters = parseFilters(texts(options, 'filter'), FILTERS);
    const question = `WARNING! This will remove ${PRUNE_CONTAINERS}.\nAre you sure you want to continue?`;
    if (!flag(options, 'force') && !(await confirm(question))) return 0;
    const { bytes, ids } = await pruneContainers(openContainers(), filters);
    printPruned(ids);
    writeLine(`Total reclaimed space: ${humanSize(bytes)}`);
    return 0;
  },
};

export function printPruned(ids: readonly string[]): void {
  if (ids.length === 0) return;
  writeLine('Deleted Containers:');
  for (const id of ids) writeLine(id);
  writeLine('');
}

/** Removes containers that do not run. */
export async function pruneContainers(
  store: ContainerStore,
  filters: Filters,
): Promise<{ ids: string[]; bytes: number }> {
  const chosen = filterContainers(await store.list(), filters, openStore());
  const ids: string[] = [];
  let bytes = 0;
  for (const container of chosen) {
    if (isActive(container.state)) continue;
    const { id } = container.config;
    const own = allocatedBytes(store, id);
    try {
      await removeContainer(store, container, { force: false, volumes: false });
    } catch (error) {
      // Somebody has started or removed it meanwhile.
      if (error instanceof TsvmError) continue;
      throw error;
    }
    ids.push(id);
    bytes += own;
  }
  return { ids, bytes };
}
