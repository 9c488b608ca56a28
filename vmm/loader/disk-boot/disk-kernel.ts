/** The kernel that a disk boots: chosen, and read. */
import { TsvmError } from '../../errors.ts';
import { printable } from '../../util/printable.ts';
import type { BootEntry, DiskFile } from './entries/boot-entry.ts';
import type { DiskSearch } from './find-menus.ts';

/** Kernels with everything built in have some 60 MiB. */
const KERNEL_BYTES_MAX = 512 * 2 ** 20;
const INITRD_BYTES_MAX = 2 ** 30;

/** An entry with the boot loader that offers it. */
export interface ListedEntry {
  readonly entry: BootEntry;
  readonly loader: string;
  readonly isDefault: boolean;
}

/**
 * All entries of a disk in the order in which they count. Entries that boot the same are listed once,
 * and kernels that were found by their names only when no boot loader offers them.
 */
export function listEntries({ menus }: DiskSearch): ListedEntry[] {
  const listed: ListedEntry[] = [];
  const known = new Set<unknown>();
  for (const [menuIndex, { loader, entries, isGuess, defaultIndex }] of menus.entries()) {
    for (const [index, entry] of entries.entries()) {
      const files = [entry.kernel, ...entry.initrds].map((file) => file.place);
      const whole = JSON.stringify([...files, entry.commandLine]);
      const isKnown = known.has(isGuess ? entry.kernel.identity : whole);
      known.add(whole).add(entry.kernel.identity);
      const isDefault = menuIndex === 0 && index === defaultIndex;
      if (isDefault || !isKnown) listed.push({ entry, loader, isDefault });
    }
  }
  return listed;
}

/**
 * The entry with an id or title, or the default one.
 * @param name the disk's, for messages
 * @throws TsvmError `no-kernel-on-disk` when there is none
 */
export function chooseEntry(search: DiskSearch, name: string, wanted?: string): ListedEntry {
  const listed = listEntries(search);
  if (listed.length === 0) throw noKernel(search, name);
  const chosen =
    wanted === undefined
      ? listed.find(({ isDefault }) => isDefault)
      : (findEntry(search, ({ id }) => id === wanted) ??
        findEntry(search, ({ title }) => title === wanted));
  if (chosen !== undefined) return chosen;
  const ids = listed.map(({ entry }) => `"${printable(entry.id)}"`).join(', ');
  throw new TsvmError(
    'no-kernel-on-disk',
    `${name} has no boot entry "${wanted}": the entries are ${printable(ids, 2000)}`,
  );
}

/** Among all entries, listed or not. */
function findEntry(
  { menus }: DiskSearch,
  matches: (entry: BootEntry) => boolean,
): ListedEntry | undefined {
  for (const { loader, entries } of menus) {
    const entry = entries.find(matches);
    if (entry !== undefined) return { entry, loader, isDefault: false };
  }
  return undefined;
}

function noKernel({ searched, problems }: DiskSearch, name: string): TsvmError {
  const where =
    searched.length === 0 ? 'it has no file system that tsvm reads' : searched.join(', ');
  const why = problems.length === 0 ? '' : `; not read: ${problems.slice(0, 8).join('; ')}`;
  return new TsvmError(
    'no-kernel-on-disk',
    `no kernel was found on ${name}: give one with --kernel (and --initrd). Searched for boot ` +
      `loader entries, unified kernel images, grub.cfg, extlinux.conf and vmlinuz files: ${where}${why}`,
  );
}

/** @throws TsvmError `invalid-disk` */
export function readKernel(file: DiskFile): Uint8Array {
  checkSize(file, KERNEL_BYTES_MAX);
  return file.read(0, file.sizeBytes);
}

/** @throws TsvmError `invalid-disk`, also for files that are too large together */
export function readInitrds(files: readonly DiskFile[]): Uint8Array[] {
  let bytesLeft = INITRD_BYTES_MAX;
  for (const file of files) {
    checkSize(file, bytesLeft);
    bytesLeft -= file.sizeBytes;
  }
  return files.map((file) => file.read(0, file.sizeBytes));
}

function checkSize(file: DiskFile, bytesMax: number): void {
  if (file.sizeBytes > 0 && file.sizeBytes <= bytesMax) return;
  throw new TsvmError(
    'invalid-disk',
    `${file.place} has ${file.sizeBytes} bytes, which is no size of a kernel or initrd`,
  );
}
