import { familiarName, storedReference } from '../../container/reference.ts';
import type { ImageRecord } from '../../container/store/catalog.ts';
import { print } from '../standard-streams.ts';
import { filterImages, parseFilters } from './image-filters.ts';
import { openStore } from './open-store.ts';
import { flag, text, texts } from './option-values.ts';
import { formatList, type ListKind } from './template/formatted-list.ts';
import { goTime, humanSize, shortId, timeAgo } from './units.ts';
import { collect, type Verb } from './verb.ts';

const FILTERS = ['dangling', 'label', 'reference', 'before', 'since', 'until'];
const NONE = '<none>';

export const IMAGE_LIST: ListKind = {
  typeName: '*formatter.imageContext',
  headings: {
    Containers: 'CONTAINERS',
    CreatedAt: 'CREATED AT',
    CreatedSince: 'CREATED',
    Digest: 'DIGEST',
    ID: 'IMAGE ID',
    Repository: 'REPOSITORY',
    SharedSize: 'SHARED SIZE',
    Size: 'SIZE',
    Tag: 'TAG',
    UniqueSize: 'UNIQUE SIZE',
    VirtualSize: 'SIZE',
  },
};

export const imagesVerb: Verb = {
  usage: 'images [OPTIONS] [REPOSITORY[:TAG]]',
  argumentsMin: 0,
  argumentsMax: 1,
  help: `
Examples:
  tsvm images
  tsvm images -q -f dangling=true
  tsvm images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
  tsvm images 'fridge*'`,
  addOptions: (command) =>
    command
      .option('-a, --all', 'show all images (there are no intermediate ones)')
      .option('--digests', 'show digests')
      .option(
        '-f, --filter <filter>',
        'only show these: dangling=true|false, label=KEY[=VALUE], reference=PATTERN, ' +
          'before=IMAGE, since=IMAGE, until=TIME',
        collect,
      )
      .option('--format <format>', 'table, "table TEMPLATE", json or a Go template', 'table')
      .option('--no-trunc', 'do not truncate IDs')
      .option('-q, --quiet', 'only show IDs'),
  run: async ([pattern], options) => {
    const given = texts(options, 'filter');
    const wanted = pattern === undefined ? given : [...given, `reference=${pattern}`];
    const images = filterImages(openStore(), parseFilters(wanted, FILTERS));
    const digests = flag(options, 'digests');
    const format = listFormat(text(options, 'format') ?? 'table', flag(options, 'quiet'), digests);
    const needsDigest = digests || format.includes('{{.Digest}}');
    const short = options['trunc'] !== false;
    const rows = images.flatMap((image) =>
      nameRows(image, digests, needsDigest).map((names) => imageRow(image, names, short)),
    );
    print(formatList(format, rows, IMAGE_LIST));
    return 0;
  },
};

function listFormat(format: string, quiet: boolean, digests: boolean): string {
  if (format === 'table' && quiet) return '{{.ID}}';
  const digest = digests ? '{{.Digest}}\t' : '';
  if (format === 'table') {
    return `table {{.Repository}}\t{{.Tag}}\t${digest}{{.ID}}\t{{.CreatedSince}}\t{{.Size}}`;
  }
  const lacksDigest = format.startsWith('table') && digests && !format.includes('{{.Digest}}');
  return lacksDigest ? `${format}\t{{.Digest}}` : format;
}

interface RowNames {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
}

/** A line for each name; an image without any has one as well. */
function nameRows(image: ImageRecord, digests: boolean, needsDigest: boolean): RowNames[] {
  const tags = image.tags.map(storedReference);
  const canonical = image.digests.map(storedReference);
  const rows: RowNames[] = [];
  const done = new Set<string>();
  for (const reference of tags) {
    const repository = familiarName(reference);
    done.add(repository);
    const own = canonical.filter((other) => familiarName(other) === repository);
    const shown = needsDigest && own.length > 0 ? own.map(({ digest }) => `${digest}`) : [NONE];
    for (const digest of shown) rows.push({ repository, tag: reference.tag ?? NONE, digest });
  }
  for (const reference of canonical) {
    const repository = familiarName(reference);
    if (done.has(repository)) continue;
    if (!digests) done.add(repository);
    rows.push({ repository, tag: NONE, digest: needsDigest ? `${reference.digest}` : NONE });
  }
  return rows.length > 0 ? rows : [{ repository: NONE, tag: NONE, digest: NONE }];
}

/** Total size of the files in an image's layers, which Docker calls its size. */
export function imageBytes({ layers }: ImageRecord): number {
  return layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

export function imageRow(
  image: ImageRecord,
  { repository, tag, digest }: RowNames,
  short: boolean,
): Record<string, unknown> {
  const bytes = imageBytes(image);
  const { createdMs, id } = image;
  return {
    Containers: 'N/A',
    // Made when it is shown: the name of a time zone takes longer than all the rest.
    get CreatedAt() {
      return goTime(createdMs);
    },
    CreatedSince: timeAgo(createdMs),
    Digest: digest,
    ID: short ? shortId(id) : id,
    Repository: repository,
    SharedSize: 'N/A',
    Size: humanSize(bytes, 3),
    Tag: tag,
    UniqueSize: 'N/A',
    VirtualSize: humanSize(bytes),
  };
}
