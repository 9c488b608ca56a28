import { familiarName, parseReference } from '../../container/reference.ts';
import { storeUsage } from '../../container/store/usage.ts';
import { print } from '../standard-streams.ts';
import { IMAGE_LIST, imageBytes, imageRow } from './images.ts';
import { openStore } from './open-store.ts';
import { flag, text } from './option-values.ts';
import { formatList, type ListKind } from './template/formatted-list.ts';
import { humanSize } from './units.ts';
import type { Verb } from './verb.ts';

const USAGE_LIST: ListKind = {
  typeName: '*formatter.diskUsageImagesContext',
  headings: {
    Active: 'ACTIVE',
    Reclaimable: 'RECLAIMABLE',
    Size: 'SIZE',
    TotalCount: 'TOTAL',
    Type: 'TYPE',
  },
};
const USAGE_TABLE = 'table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}';
const IMAGES_TABLE =
  'table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}';

export const systemDfVerb: Verb = {
  usage: 'df [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Sizes are those on this host's disk: the layers as downloaded, and their uncompressed form, which images
share. The last line is the remains of interrupted pulls.

Examples:
  tsvm system df
  tsvm system df -v`,
  addOptions: (command) =>
    command
      .option('--format <format>', 'table, json or a Go template', 'table')
      .option('-v, --verbose', 'show each image'),
  run: async (_, options) => {
    const store = openStore();
    const usage = storeUsage(store);
    const format = text(options, 'format') ?? 'table';
    if (flag(options, 'verbose')) {
      print(`Images space usage:\n\n${imageTable(store)}`);
      return 0;
    }
    const images = store.catalog.read().length;
    const rows = [
      row('Images', images, usage.imageBytes),
      row('Leftovers', usage.leftoverFiles, usage.leftoverBytes),
    ];
    print(formatList(format === 'table' ? USAGE_TABLE : format, rows, USAGE_LIST));
    return 0;
  },
};

function row(type: string, count: number, bytes: number): Record<string, string> {
  const percent = bytes > 0 ? ' (100%)' : '';
  return {
    Active: '0',
    Reclaimable: humanSize(bytes) + percent,
    Size: humanSize(bytes),
    TotalCount: String(count),
    Type: type,
  };
}

function imageTable(store: ReturnType<typeof openStore>): string {
  const images = store.catalog.read();
  const uses = new Map<string, number>();
  for (const { layers } of images) {
    for (const diffId of new Set(layers.map((layer) => layer.diffId))) {
      uses.set(diffId, (uses.get(diffId) ?? 0) + 1);
    }
  }
  const rows = images.map((image) => {
    const [name] = image.tags;
    const reference = name === undefined ? undefined : parseReference(name);
    const shared = image.layers
      .filter(({ diffId }) => (uses.get(diffId) ?? 0) > 1)
      .reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const names = {
      repository: reference === undefined ? '<none>' : familiarName(reference),
      tag: reference?.tag ?? '<none>',
      digest: '<none>',
    };
    return {
      ...imageRow(image, names, true),
      Containers: '0',
      SharedSize: humanSize(shared),
      UniqueSize: humanSize(imageBytes(image) - shared),
    };
  });
  return formatList(IMAGES_TABLE, rows, IMAGE_LIST);
}
