/** What `inspect`, `ls` and `prune` of volumes and networks share. */
import { TsvmError } from '../../errors.ts';
import { print, printMessage } from '../standard-streams.ts';
import { errorText } from './error-text.ts';
import type { Filters } from './image-filters.ts';
import { Template } from './template/template.ts';
import { writeLine } from './verb.ts';

type Labels = Readonly<Record<string, string>>;

/** `label=KEY[=VALUE]` and `label!=KEY[=VALUE]` */
export function matchesLabels(labels: Labels, filters: Filters): boolean {
  const has = (wanted: string) => {
    const equals = wanted.indexOf('=');
    if (equals < 0) return Object.hasOwn(labels, wanted);
    return labels[wanted.slice(0, equals)] === wanted.slice(equals + 1);
  };
  return (filters.get('label') ?? []).every(has) && !(filters.get('label!') ?? []).some(has);
}

/** As lists show them. */
export function labelsText(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .sort()
    .join(',');
}

/**
 * Prints details of objects as JSON or by a template; those that are missing are said at the end.
 * @returns the exit code
 */
export function inspectObjects(
  names: readonly string[],
  format: string,
  detailsOf: (name: string) => object,
): number {
  const isJson = format === '' || format === 'json';
  const template = isJson ? undefined : new Template(format);
  const found: object[] = [];
  const errors: string[] = [];
  for (const name of names) {
    try {
      found.push(detailsOf(name));
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      errors.push(errorText(error));
    }
  }
  if (template !== undefined) {
    print(found.map((details) => `${template.fill(details)}\n`).join(''));
  } else if (found.length === 0) writeLine('[]');
  else writeLine(JSON.stringify(found, undefined, format === '' ? 4 : undefined));
  for (const text of errors) printMessage(`${text}\n`);
  return errors.length === 0 ? 0 : 1;
}

/** Does something with each, and prints its name. @returns the exit code */
export async function forEachName(
  names: readonly string[],
  action: (name: string) => Promise<void> | void,
): Promise<number> {
  let code = 0;
  for (const name of names) {
    try {
      await action(name);
      writeLine(name);
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      printMessage(`${errorText(error)}\n`);
      code = 1;
    }
  }
  return code;
}
