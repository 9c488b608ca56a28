import type { BootEntry } from '../boot-entry.ts';

/** An item of GRUB's menu. */
export interface MenuItem {
  readonly title: string;
  /** `--id`; the title when there is none. */
  readonly id: string;
  /** Undefined for what boots no Linux of this disk. */
  readonly entry: BootEntry | undefined;
  /** The items of a submenu. */
  readonly items: readonly MenuItem[];
}

/** All entries, those of submenus at the place of their submenu. */
export function flattenMenu(items: readonly MenuItem[]): BootEntry[] {
  return items.flatMap(({ entry, items: inner }) => [
    ...(entry === undefined ? [] : [entry]),
    ...flattenMenu(inner),
  ]);
}

/**
 * The entry that a value of `$default` stands for: "default" of GRUB's manual. It is an index, an id
 * or a title, with ">" between a submenu's and an entry's.
 */
export function entryOfDefault(items: readonly MenuItem[], value: string): BootEntry | undefined {
  const item = findItem(items, value);
  if (item !== undefined) return item.entry ?? flattenMenu(item.items)[0];
  // The value of a submenu may contain ">" itself.
  for (let at = value.indexOf('>'); at >= 0; at = value.indexOf('>', at + 1)) {
    const outer = findItem(items, value.slice(0, at));
    const entry = outer && entryOfDefault(outer.items, value.slice(at + 1).trimStart());
    if (entry !== undefined) return entry;
  }
  return undefined;
}

function findItem(items: readonly MenuItem[], value: string): MenuItem | undefined {
  if (/^\d+$/.test(value)) return items[Number(value)];
  return items.find(({ id, title }) => id === value || title === value);
}
