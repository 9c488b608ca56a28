/** systemd-boot: what it offers, and its `loader/loader.conf`. */
import type { BootMenu } from './boot-entry.ts';
import { parseBlsFields, readBlsEntries } from './boot-loader-spec.ts';
import { type BlsEntry, compareBlsEntries } from './entry-order.ts';
import { findFile, readText, type SearchedVolume } from './searched-volume.ts';
import { findUkis } from './uki.ts';
import { matchesWildcard } from './wildcard.ts';

const ENTRIES = '/loader/entries';
const CONFIGURATION = '/loader/loader.conf';
const PROGRAM = '/EFI/systemd/systemd-bootx64.efi';

/** Whether the boot loader itself is on a volume. @throws TsvmError `invalid-disk` */
export function hasSystemdBoot(volume: SearchedVolume): boolean {
  return findFile(volume, PROGRAM) !== undefined;
}

/**
 * What is in the places where systemd-boot looks.
 * @param volumes the EFI system partition and the extended boot partition
 * @throws TsvmError `invalid-disk`
 */
export function systemdBootMenu(volumes: readonly SearchedVolume[]): BootMenu | undefined {
  const entries = volumes
    .flatMap((volume) => [...readBlsEntries(volume, ENTRIES), ...findUkis(volume)])
    .sort(compareBlsEntries);
  if (entries.length === 0) return undefined;
  const configurations = volumes.flatMap((volume) => findFile(volume, CONFIGURATION) ?? []);
  const [configuration] = configurations;
  const pattern = configuration && parseBlsFields(readText(configuration)).get('default')?.at(-1);
  const chosen = entries.findIndex((entry) => pattern !== undefined && matches(entry, pattern));
  const [place = 'loader/entries, EFI/Linux'] = configurations.map((file) => file.place);
  return { loader: `systemd-boot (${place})`, entries, defaultIndex: Math.max(0, chosen) };
}

/** loader.conf(5): a pattern for the entry's file name, with or without its suffix. */
function matches({ id }: BlsEntry, pattern: string): boolean {
  return [id, `${id}.conf`, `${id}.efi`].some((name) => matchesWildcard(name, pattern));
}
