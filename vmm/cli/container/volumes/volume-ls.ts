import { openVolumeStore, type VolumeRecord } from '../../../container/volumes/volume-store.ts';
import { print } from '../../standard-streams.ts';
import { booleanFilter, matches, parseFilters } from '../image-filters.ts';
import { labelsText, matchesLabels } from '../object-details.ts';
import { flag, text, texts } from '../option-values.ts';
import { formatList, type ListKind } from '../template/formatted-list.ts';
import { collect, type Verb } from '../verb.ts';
import { volumeUses } from './volume-use.ts';

const VOLUME_LIST: ListKind = {
  typeName: '*formatter.volumeContext',
  headings: {
    Availability: 'AVAILABILITY',
    Driver: 'DRIVER',
    Group: 'GROUP',
    Labels: 'LABELS',
    Links: 'LINKS',
    Mountpoint: 'MOUNTPOINT',
    Name: 'VOLUME NAME',
    Scope: 'SCOPE',
    Size: 'SIZE',
    Status: 'STATUS',
  },
};
const FILTERS = ['dangling', 'driver', 'label', 'name'];

export const volumeLsVerb: Verb = {
  usage: 'ls [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Examples:
  tsvm volume ls
  tsvm volume ls -q -f dangling=true`,
  addOptions: (command) =>
    command
      .option(
        '-f, --filter <filter>',
        'only show these: dangling=true|false, label=KEY[=VALUE], name=PART, driver=local',
        collect,
      )
      .option('--format <format>', 'table, "table TEMPLATE", json or a Go template', 'table')
      .option('-q, --quiet', 'only show names'),
  run: async (_, options) => {
    const filters = parseFilters(texts(options, 'filter'), FILTERS);
    const dangling = booleanFilter(filters, 'dangling');
    const uses = dangling === undefined ? new Map() : await volumeUses();
    const store = openVolumeStore();
    const chosen = store.list().filter((volume) => {
      const { labels, name } = volume;
      return (
        (dangling === undefined || dangling === !uses.has(name)) &&
        (filters.get('driver') ?? ['local']).includes('local') &&
        (filters.get('name')?.some((pattern) => matches(name, pattern)) ?? true) &&
        matchesLabels(labels, filters)
      );
    });
    const rows = chosen.map((volume) => volumeRow(volume, store.dataPath(volume)));
    const format = text(options, 'format') ?? 'table';
    const shown = format === 'table' && flag(options, 'quiet') ? '{{.Name}}' : format;
    print(
      formatList(shown === 'table' ? 'table {{.Driver}}\t{{.Name}}' : shown, rows, VOLUME_LIST),
    );
    return 0;
  },
};

function volumeRow({ labels, name }: VolumeRecord, path: string): Record<string, unknown> {
  return {
    Availability: 'N/A',
    Driver: 'local',
    Group: 'N/A',
    Labels: labelsText(labels),
    Links: 'N/A',
    Mountpoint: path,
    Name: name,
    Scope: 'local',
    Size: 'N/A',
    Status: 'N/A',
  };
}
