import { printable } from '../../util/printable.ts';
import { print } from '../standard-streams.ts';
import { openStore } from './open-store.ts';
import { flag, text } from './option-values.ts';
import { formatList, type ListKind } from './template/formatted-list.ts';
import { humanSize, rfc3339, shortId, timeAgo } from './units.ts';
import type { Verb } from './verb.ts';

const HISTORY_LIST: ListKind = {
  typeName: '*image.historyContext',
  headings: {
    Comment: 'COMMENT',
    CreatedAt: 'CREATED AT',
    CreatedBy: 'CREATED BY',
    CreatedSince: 'CREATED',
    ID: 'IMAGE',
    Size: 'SIZE',
  },
};
const CREATED_BY_MAX = 45;
const TEXT_MAX = 65_536;
/** Images with an earlier date were built without one. */
const FIRST_BELIEVABLE_MS = Date.UTC(2000, 0, 1);

export const historyVerb: Verb = {
  usage: 'history [OPTIONS] IMAGE',
  argumentsMin: 1,
  argumentsMax: 1,
  help: `
Examples:
  tsvm history fridge
  tsvm history --no-trunc --format '{{.CreatedBy}}' fridge`,
  addOptions: (command) =>
    command
      .option('--format <format>', 'table, "table TEMPLATE", json or a Go template', 'table')
      .option('-H, --human', 'print sizes and dates in human-readable form (default)')
      .option('--no-human', 'print sizes in bytes and dates in full')
      .option('--no-trunc', 'do not truncate output')
      .option('-q, --quiet', 'only show IDs')
      .option('--platform <platform>', 'ignored: stored images have one platform'),
  run: async ([name = ''], options) => {
    const store = openStore();
    const { image } = store.find(name);
    const { history } = store.content.readConfig(image.id);
    const short = options['trunc'] !== false;
    const human = options['human'] !== false;
    const sizes = image.layers.map(({ sizeBytes }) => sizeBytes);
    const rows = history.map(({ comment, createdBy, createdMs, emptyLayer }) => {
      const bytes = emptyLayer ? 0 : (sizes.shift() ?? 0);
      const created = rfc3339(createdMs);
      const since = createdMs <= FIRST_BELIEVABLE_MS ? '' : timeAgo(createdMs);
      // What an image says goes to a terminal without its control characters.
      const by = printable(createdBy.replaceAll('\t', ' '), TEXT_MAX);
      return {
        Comment: printable(comment, TEXT_MAX),
        CreatedAt: created,
        CreatedBy: short ? ellipsis(by) : by,
        CreatedSince: human ? since : created,
        ID: '<missing>',
        Size: human ? humanSize(bytes, 3) : String(bytes),
      };
    });
    const last = rows.at(-1);
    if (last !== undefined) last.ID = short ? shortId(image.id) : image.id;
    print(
      formatList(
        listFormat(text(options, 'format') ?? 'table', human, flag(options, 'quiet')),
        rows.reverse(),
        HISTORY_LIST,
      ),
    );
    return 0;
  },
};

function listFormat(format: string, human: boolean, quiet: boolean): string {
  if (format !== 'table') return format;
  if (quiet) return '{{.ID}}';
  const created = human ? '{{.CreatedSince}}' : '{{.CreatedAt}}';
  return `table {{.ID}}\t${created}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}`;
}

function ellipsis(value: string): string {
  const characters = [...value];
  if (characters.length <= CREATED_BY_MAX) return value;
  return `${characters.slice(0, CREATED_BY_MAX - 1).join('')}…`;
}
