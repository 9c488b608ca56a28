/** Searches a disk for what boot loaders would boot. */
import { TsvmError } from '../../errors.ts';
import { DiskReader, type DiskSource, Volume } from './disk-source.ts';
import type { BootMenu } from './entries/boot-entry.ts';
import { readBlsEntries } from './entries/boot-loader-spec.ts';
import { compareBlsEntries } from './entries/entry-order.ts';
import { grubMenus } from './entries/grub/grub-menu.ts';
import { namedKernelsMenu } from './entries/newest-kernel.ts';
import type { SearchedVolume } from './entries/searched-volume.ts';
import { syslinuxMenus } from './entries/syslinux.ts';
import { hasSystemdBoot, systemdBootMenu } from './entries/systemd-boot.ts';
import { findRemovableMediaUki } from './entries/uki.ts';
import { isFat } from './file-systems/fat/boot-sector.ts';
import { openFileSystem } from './file-systems/open-file-system.ts';
import { unreadableContent } from './file-systems/unreadable-content.ts';
import type { Partition } from './partition-table/partition.ts';
import { readPartitions } from './partition-table/read-partitions.ts';

/** What a search has found. */
export interface DiskSearch {
  /** The boot loader that would run comes first. None when there is no kernel. */
  readonly menus: readonly BootMenu[];
  /** What was looked at: `partition 1 (ext4)`. */
  readonly searched: readonly string[];
  /** What could not be looked at, and why. */
  readonly problems: readonly string[];
  /** The disk has no partitions and may be a root file system for another kernel. */
  readonly mayBeRoot: boolean;
}

/**
 * Searches a disk.
 * @throws TsvmError `disk-io` when the host cannot read it. What is wrong with the disk's content
 * becomes one of the problems.
 */
export function searchDisk(disk: DiskSource): DiskSearch {
  const problems: string[] = [];
  const reader = new DiskReader(disk);
  const { volumes, isPartitioned } = openVolumes(reader, problems);
  const menus: BootMenu[] = [];
  for (const find of MENU_FINDERS) {
    const found = contained(problems, () => find(volumes, (problem) => problems.push(problem)));
    menus.push(...(found ?? []).filter((menu) => menu !== undefined));
  }
  return {
    menus,
    searched: volumes.map(({ name, fileSystem }) => `${name} (${fileSystem.type})`),
    problems: [...new Set(problems)],
    mayBeRoot: !isPartitioned && mayBeRoot(reader),
  };
}

/** Unknown content may be a file system that only the kernel knows. */
function mayBeRoot(reader: DiskReader): boolean {
  const whole = new Volume(reader, 'the disk', 0, reader.sizeBytes);
  return unreadableContent(whole)?.isFileSystem !== false;
}

type MenuFinder = (
  volumes: readonly SearchedVolume[],
  report: (problem: string) => void,
) => readonly (BootMenu | undefined)[];

/** In the order in which they count. */
const MENU_FINDERS: readonly MenuFinder[] = [
  (volumes) => (volumes.some(hasSystemdBoot) ? [systemdBootMenu(firmwareVolumes(volumes))] : []),
  grubMenus,
  syslinuxMenus,
  (volumes) => (volumes.some(hasSystemdBoot) ? [] : [systemdBootMenu(firmwareVolumes(volumes))]),
  (volumes) => volumes.map(looseBlsMenu),
  (volumes) => volumes.map(removableMediaMenu),
  (volumes) => [namedKernelsMenu(volumes)],
];

/** Where boot loaders for UEFI look: the EFI system partition, then the extended boot partition. */
function firmwareVolumes(volumes: readonly SearchedVolume[]): SearchedVolume[] {
  return ['esp', 'xbootldr'].flatMap((use) => volumes.filter((volume) => volume.use === use));
}

/** BLS entries elsewhere, as in `/boot` of a root file system. */
function looseBlsMenu(volume: SearchedVolume): BootMenu | undefined {
  for (const folder of ['/loader/entries', '/boot/loader/entries']) {
    const entries = readBlsEntries(volume, folder).sort(compareBlsEntries);
    const loader = `boot loader entries (${volume.name}: ${folder})`;
    if (entries.length > 0) return { loader, entries, defaultIndex: 0 };
  }
  return undefined;
}

function removableMediaMenu(volume: SearchedVolume): BootMenu | undefined {
  const entries = findRemovableMediaUki(volume);
  const loader = `a unified kernel image (${volume.name})`;
  return entries.length === 0 ? undefined : { loader, entries, defaultIndex: 0 };
}

function openVolumes(
  reader: DiskReader,
  problems: string[],
): { volumes: SearchedVolume[]; isPartitioned: boolean } {
  const table = contained(problems, () => readPartitions(reader));
  const whole = new Volume(reader, 'the disk', 0, reader.sizeBytes);
  // A FAT file system that fills the disk begins with a boot sector that may look like a table. Other
  // file systems do not; if they are recognised beside a table, they were there before it.
  const isPartitioned = table !== undefined && (table.kind === 'gpt' || !isFat(whole));
  if (!isPartitioned) {
    const volume = openVolume(whole, undefined, 'hd0', problems);
    return { volumes: volume === undefined ? [] : [volume], isPartitioned: false };
  }
  problems.push(...table.problems);
  const volumes = table.partitions.map((partition) =>
    openVolume(partition.volume, partition, `hd0,${table.kind}${partition.number}`, problems),
  );
  return { volumes: volumes.filter((volume) => volume !== undefined), isPartitioned };
}

function openVolume(
  volume: Volume,
  partition: Partition | undefined,
  grubDevice: string,
  problems: string[],
): SearchedVolume | undefined {
  const fileSystem = contained(problems, () => openFileSystem(volume));
  if (fileSystem === undefined) return undefined;
  const { number = 0, use = 'other' } = partition ?? {};
  return { name: volume.name, use, grubDevice, partition: number, fileSystem };
}

/** A damaged part of a disk must not hide the others. */
function contained<T>(problems: string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TsvmError) || error.code !== 'invalid-disk') throw error;
    problems.push(error.message);
    return undefined;
  }
}
