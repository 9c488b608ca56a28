/** `--filter` of `images` and `image prune`, as Docker has it. */
import type { ImageConfig } from '../../container/image-config.ts';
import { stringMapAt } from '../../container/json.ts';
import { familiarName, familiarText, parseReference } from '../../container/reference.ts';
import type { ImageRecord } from '../../container/store/catalog.ts';
import type { ImageStore } from '../../container/store/image-store.ts';
import { TsvmError } from '../../errors.ts';
import { parseTime } from './times.ts';
import { UsageError } from './verb.ts';

export type Filters = ReadonlyMap<string, readonly string[]>;

/** Reads `name=value` as often as it was given. */
export function parseFilters(values: readonly string[], known: readonly string[]): Filters {
  const filters = new Map<string, string[]>();
  for (const value of values) {
    const equals = value.indexOf('=');
    const name = value.slice(0, equals).trim().toLowerCase();
    if (equals < 0) {
      throw new UsageError(
        `invalid argument "${value}" for "-f, --filter" flag: bad format of filter (expected name=value)`,
        125,
      );
    }
    if (!known.includes(name)) {
      throw new TsvmError('invalid-reference', `invalid filter '${name}'`);
    }
    filters.set(name, [...(filters.get(name) ?? []), value.slice(equals + 1).trim()]);
  }
  return filters;
}

/** A regular expression, or a part of the text. */
export function matches(text: string, pattern: string): boolean {
  try {
    return new RegExp(pattern).test(text);
  } catch {
    return text.includes(pattern);
  }
}

/** Undefined when the filter is not given. */
export function booleanFilter(filters: Filters, name: string): boolean | undefined {
  const values = filters.get(name);
  if (values === undefined) return undefined;
  if (values.every((value) => /^(?:1|true)$/i.test(value))) return true;
  if (values.every((value) => /^(?:0|false)$/i.test(value))) return false;
  throw new TsvmError('invalid-reference', `invalid filter '${name}=[${values.join(' ')}]'`);
}

export function isDangling({ tags }: ImageRecord): boolean {
  return tags.length === 0;
}

/** The images that a list is of; of their names only those that were asked for. */
export function filterImages(store: ImageStore, filters: Filters): ImageRecord[] {
  const all = store.catalog.read();
  const dangling = booleanFilter(filters, 'dangling');
  const before = createdOf(store, all, filters.get('before'));
  const since = createdOf(store, all, filters.get('since'));
  const until = filters.get('until')?.map(parseTime);
  const patterns = filters.get('reference');
  const chosen = all.filter(
    (image) =>
      (dangling === undefined || dangling === isDangling(image)) &&
      before.every((ms) => image.createdMs < ms) &&
      since.every((ms) => image.createdMs > ms) &&
      (until ?? []).every((ms) => image.createdMs < ms) &&
      hasLabels(store, image, filters.get('label'), filters.get('label!')),
  );
  if (patterns === undefined) return chosen;
  return chosen.flatMap((image) => {
    const tags = image.tags.filter((tag) => matchesAny(tag, patterns));
    const digests = image.digests.filter((digest) => matchesAny(digest, patterns));
    return tags.length + digests.length === 0 ? [] : [{ ...image, tags, digests }];
  });
}

function createdOf(
  store: ImageStore,
  images: readonly ImageRecord[],
  names: readonly string[] = [],
): number[] {
  return names.map((name) => store.find(name, images).image.createdMs);
}

function hasLabels(
  store: ImageStore,
  image: ImageRecord,
  wanted: readonly string[] = [],
  unwanted: readonly string[] = [],
): boolean {
  if (wanted.length + unwanted.length === 0) return true;
  const labels = labelsOf(store.content.readConfig(image.id));
  const has = (label: string) => {
    const [, name = label, value] = /^([^=]*)=(.*)$/s.exec(label) ?? [];
    return Object.hasOwn(labels, name) && (value === undefined || labels[name] === value);
  };
  return wanted.every(has) && !unwanted.some(has);
}

function labelsOf({ run }: ImageConfig): Record<string, string> {
  return stringMapAt(run, 'Labels') ?? {};
}

/** Go's path.Match, of the name with its tag or without it. */
function matchesAny(name: string, patterns: readonly string[]): boolean {
  const reference = parseReference(name);
  return patterns.some((pattern) => {
    const expression = globExpression(pattern);
    return expression.test(familiarText(reference)) || expression.test(familiarName(reference));
  });
}

function globExpression(pattern: string): RegExp {
  const source = pattern.replace(
    /\*|\?|\[(\^?)((?:\\.|[^\]\\])+)\]|\\(.)|[.+^${}()|[\]\\]/g,
    (match, negation: string | undefined, set: string | undefined, escaped: string | undefined) => {
      if (match === '*') return '[^/]*';
      if (match === '?') return '[^/]';
      if (set !== undefined) return `[${negation}${set.replace(/[[\]^]/g, '\\$&')}]`;
      return `\\${escaped ?? match}`;
    },
  );
  try {
    return new RegExp(`^${source}$`, 's');
  } catch (cause) {
    throw new TsvmError('invalid-reference', `invalid reference filter: ${pattern}`, { cause });
  }
}
