/** Prints lists as Docker does: as a table, or as specified by `--format`. */
import { HEADER_FUNCTIONS } from './functions.ts';
import { Template } from './template.ts';

export interface ListKind {
  /** Go's name of a row's type, for messages. */
  readonly typeName: string;
  /** A field's name → its heading in a table. */
  readonly headings: Readonly<Record<string, string>>;
}

/** The key of a row's labels by name, for `.Label "NAME"`; their text is a field of its own. */
export const LABELS = Symbol('labels');

/** Minimum width of all columns but the last, and the spaces after them. */
const COLUMN_MIN = 10;
const COLUMN_GAP = 3;
/** Of UTF-16: from here on a character may take two units. */
const SURROGATES_START = 0xd800;

/**
 * @param format `table`, `table TEMPLATE`, `json`, or a template
 * @param rows their fields, in the order in which `json` writes them
 * @throws TsvmError `invalid-config` when the template is at fault
 */
export function formatList(
  format: string,
  rows: readonly Readonly<Record<string | symbol, unknown>>[],
  { headings, typeName }: ListKind,
): string {
  const isTable = format.startsWith('table');
  const source = isTable ? format.slice('table'.length) : format === 'json' ? '{{json .}}' : format;
  const trimmed = source
    .replace(/^ +| +$/g, '')
    .replaceAll('\\t', '\t')
    .replaceAll('\\n', '\n');
  const template = new Template(trimmed);
  const lines = rows.map((row) => template.fill(withMethods(row), typeName));
  if (!isTable) return lines.map((line) => `${line}\n`).join('');
  const heading = template.fill({ ...headings, Label: labelHeading }, typeName, HEADER_FUNCTIONS);
  return alignColumns([heading, ...lines]);
}

/** A row that has {@link LABELS} gets Docker's method `.Label "NAME"`. */
export function withMethods(row: Readonly<Record<string | symbol, unknown>>): object {
  const labels = row[LABELS] as Readonly<Record<string, string>> | undefined;
  if (labels === undefined) return row;
  const label = (name: unknown) => labels[String(name)] ?? '';
  // The row's getters stay what they are.
  return Object.defineProperty(row, 'Label', { value: label });
}

/** Docker's: the last part of a label's name, in words. */
function labelHeading(name: unknown): string {
  const [last = ''] = String(name).split('.').slice(-1);
  return last.replace(/[-_]/g, ' ');
}

/** Lines whose cells are parted by tabs. */
function alignColumns(lines: readonly string[]): string {
  const rows = lines.flatMap((line) => line.split('\n')).map((line) => line.split('\t'));
  const widths: number[] = [];
  for (const row of rows) {
    for (let column = 0; column < row.length - 1; column++) {
      const width = Math.max(COLUMN_MIN, columnsOf(row[column] ?? '') + COLUMN_GAP);
      widths[column] = Math.max(widths[column] ?? 0, width);
    }
  }
  let text = '';
  for (const row of rows) {
    for (let column = 0; column < row.length; column++) {
      const cell = row[column] ?? '';
      text += cell;
      if (column === row.length - 1) break;
      text += ' '.repeat((widths[column] ?? 0) - columnsOf(cell));
    }
    text += '\n';
  }
  return text;
}

/** Characters, as Go's tabwriter counts them. */
function columnsOf(cell: string): number {
  for (let index = 0; index < cell.length; index++) {
    if (cell.charCodeAt(index) >= SURROGATES_START) return [...cell].length;
  }
  return cell.length;
}
