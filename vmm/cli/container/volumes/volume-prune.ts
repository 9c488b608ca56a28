import { execFileSync } from 'node:child_process';
import { openVolumeStore, type VolumeStore } from '../../../container/volumes/volume-store.ts';
import { TsvmError } from '../../../errors.ts';
import { confirm } from '../confirm.ts';
import { type Filters, parseFilters } from '../image-filters.ts';
import { matchesLabels } from '../object-details.ts';
import { flag, texts } from '../option-values.ts';
import { humanSize } from '../units.ts';
import { collect, type Verb, writeLine } from '../verb.ts';
import { removeUnused, volumeUses } from './volume-use.ts';

export const volumePruneVerb: Verb = {
  usage: 'prune [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Examples:
  tsvm volume prune
  tsvm volume prune -a -f --filter label=project=web`,
  addOptions: (command) =>
    command
      .option('-a, --all', 'remove all unused volumes, not just anonymous ones')
      .option('--filter <filter>', 'only remove these: label=KEY[=VALUE]', collect)
      .option('-f, --force', 'do not ask for confirmation'),
  run: async (_, options) => {
    const all = flag(options, 'all');
    const filters = parseFilters(texts(options, 'filter'), ['label', 'label!', 'all']);
    const kind = all ? 'all' : 'anonymous';
    const question =
      `WARNING! This will remove ${kind} local volumes not used by at least one container.\n` +
      'Are you sure you want to continue?';
    if (!flag(options, 'force') && !(await confirm(question))) return 0;
    const { bytes, names } = await pruneVolumes(openVolumeStore(), all, filters);
    printPrunedVolumes(names);
    writeLine(`Total reclaimed space: ${humanSize(bytes)}`);
    return 0;
  },
};

export function printPrunedVolumes(names: readonly string[]): void {
  if (names.length === 0) return;
  writeLine('Deleted Volumes:');
  for (const name of names) writeLine(name);
  writeLine('');
}

/** Removes volumes that no container has. @param all those with a name as well */
export async function pruneVolumes(
  store: VolumeStore,
  all: boolean,
  filters: Filters,
): Promise<{ names: string[]; bytes: number }> {
  const uses = await volumeUses();
  const names: string[] = [];
  let bytes = 0;
  for (const volume of store.list()) {
    const { anonymous, labels, name, options } = volume;
    if (uses.has(name) || !(all || anonymous) || !matchesLabels(labels, filters)) continue;
    const own = options['device'] === undefined ? allocatedBytes(store.dataPath(volume)) : 0;
    try {
      removeUnused(store, volume, uses);
    } catch (error) {
      if (error instanceof TsvmError) continue;
      throw error;
    }
    names.push(name);
    bytes += own;
  }
  return { names, bytes };
}

/** What a folder takes on the host's disk. */
export function allocatedBytes(path: string): number {
  try {
    const text = execFileSync('du', ['-s', '--block-size=1', '--', path], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return Number.parseInt(text, 10);
  } catch {
    return 0;
  }
}
