import { isActive } from '../../container/containers/container-state.ts';
import { familiarName, parseReference } from '../../container/reference.ts';
import { storeUsage } from '../../container/store/usage.ts';
import { MachineTemplates } from '../../container/warm-start/machine-templates.ts';
import { print } from '../standard-streams.ts';
import { allocatedBytes } from './container-size.ts';
import { openContainers } from './containers.ts';
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
share. Warm starts are saved machines, from which containers go on instead of booting one. The last line is
the remains of interrupted pulls.

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
    const images = store.catalog.read();
    const used = new Set(store.uses().map(({ imageId }) => imageId));
    const rows = [
      row(
        'Images',
        images.length,
        usage.imageBytes,
        images.filter(({ id }) => used.has(id)).length,
      ),
      await containersRow(),
      templatesRow(),
      row('Leftovers', usage.leftoverFiles, usage.leftoverBytes, 0),
    ];
    print(formatList(format === 'table' ? USAGE_TABLE : format, rows, USAGE_LIST));
    return 0;
  },
};

function templatesRow(): Record<string, string> {
  const { bytes, count } = MachineTemplates.ofUser()?.usage() ?? { bytes: 0, count: 0 };
  return row('Warm starts', count, bytes, 0);
}

async function containersRow(): Promise<Record<string, string>> {
  const containers = openContainers();
  const sizes = (await containers.list()).map(({ config, state }) => ({
    bytes: allocatedBytes(containers, config.id),
    isActive: isActive(state),
  }));
  const sum = (some: typeof sizes) => some.reduce((total, { bytes }) => total + bytes, 0);
  const active = sizes.filter((size) => size.isActive);
  return row('Containers', sizes.length, sum(sizes), active.length, sum(sizes) - sum(active));
}

function row(
  type: string,
  count: number,
  bytes: number,
  active: number,
  reclaimableBytes = active === 0 ? bytes : 0,
): Record<string, string> {
  const percent = bytes > 0 ? ` (${Math.round((100 * reclaimableBytes) / bytes)}%)` : '';
  return {
    Active: String(active),
    Reclaimable: humanSize(reclaimableBytes) + percent,
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
