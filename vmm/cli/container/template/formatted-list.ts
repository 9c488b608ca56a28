/** Lists of things as Docker writes them: a table, or what `--format` says. */
import { HEADER_FUNCTIONS } from './functions.ts';
import { Template } from './template.ts';

export interface ListKind {
  /** Go's name of a row's type, for messages. */
  readonly typeName: string;
  /** A field's name → its heading in a table. */
  readonly headings: Readonly<Record<string, string>>;
}

/** Every column but the last has at least so many characters, and so many spaces behind it. */
const COLUMN_MIN = 10;
const COLUMN_GAP = 3;

/**
 * @param format `table`, `table TEMPLATE`, `json`, or a template
 * @param rows their fields, in the order in which `json` writes them
 * @throws TsvmError `invalid-config` when the template is at fault
 */
export function formatList(
  format: string,
  rows: readonly Readonly<Record<string, unknown>>[],
  { headings, typeName }: ListKind,
): string {
  const isTable = format.startsWith('table');
  const source = isTable ? format.slice('table'.length) : format === 'json' ? '{{json .}}' : format;
  const trimmed = source
    .replace(/^ +| +$/g, '')
    .replaceAll('\\t', '\t')
    .replaceAll('\\n', '\n');
  const template = new Template(trimmed);
  const lines = rows.map((row) => template.fill(row, typeName));
  if (!isTable) return lines.map((line) => `${line}\n`).join('');
  const heading = template.fill(headings, typeName, HEADER_FUNCTIONS);
  return alignColumns([heading, ...lines]);
}

/** Lines whose cells are parted by tabs. */
function alignColumns(lines: readonly string[]): string {
  const rows = lines.flatMap((line) => line.split('\n')).map((line) => line.split('\t'));
  const widths: number[] = [];
  for (const row of rows) {
    row.slice(0, -1).forEach((cell, column) => {
      const width = Math.max(COLUMN_MIN, [...cell].length + COLUMN_GAP);
      widths[column] = Math.max(widths[column] ?? 0, width);
    });
  }
  const aligned = rows.map((row) =>
    row
      .map((cell, column) => {
        const gap = column === row.length - 1 ? 0 : (widths[column] ?? 0) - [...cell].length;
        return cell + ' '.repeat(gap);
      })
      .join(''),
  );
  return aligned.map((line) => `${line}\n`).join('');
}
