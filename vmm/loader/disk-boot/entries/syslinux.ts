/**
 * SYSLINUX and EXTLINUX: what their configuration would boot (syslinux's doc/syslinux.txt and
 * doc/menu.txt). U-Boot reads the same format.
 */
import { posix } from 'node:path';
import { TsvmError } from '../../../errors.ts';
import type { BootEntry, BootMenu, DiskFile } from './boot-entry.ts';
import { findFile, type SearchedVolume } from './searched-volume.ts';
import { readSyslinuxConfig, type SyslinuxConfig, type SyslinuxLabel } from './syslinux-config.ts';

/** Where the programs are installed; they look for both names in their own folder. */
const FOLDERS = [
  ...['/boot/extlinux', '/extlinux', '/boot/syslinux', '/syslinux', '/boot', '/'],
  ...['/boot/isolinux', '/isolinux', '/EFI/syslinux', '/EFI/BOOT'],
];
const NAMES = ['extlinux.conf', 'syslinux.cfg', 'isolinux.cfg'];
const INITRDS_MAX = 64;

/** Suffixes of what the programs load that is no Linux kernel. */
const OTHER_PROGRAM = /\.(c32|com|cbt|bin|bs|bss|0|img)$/i;

/**
 * The menus of all configurations on the disk, those with entries.
 * @param report receives what is wrong with the others
 */
export function syslinuxMenus(
  volumes: readonly SearchedVolume[],
  report: (problem: string) => void,
): BootMenu[] {
  return volumes.flatMap((volume) =>
    FOLDERS.flatMap((folder) => {
      const file = NAMES.map((name) => findFile(volume, posix.join(folder, name))).find(Boolean);
      if (file === undefined) return [];
      try {
        return syslinuxMenu(volume, folder, file) ?? [];
      } catch (error) {
        if (!(error instanceof TsvmError)) throw error;
        report(`${file.place}: ${error.message}`);
        return [];
      }
    }),
  );
}

function syslinuxMenu(
  volume: SearchedVolume,
  folder: string,
  file: DiskFile,
): BootMenu | undefined {
  const locate = (path: string) => findFile(volume, posix.resolve(folder, path));
  const config = readSyslinuxConfig(file, locate);
  const entries = config.labels.flatMap((label) => bootEntry(label, config, locate) ?? []);
  const wanted = config.onTimeout ?? config.default;
  const defaultIndex = wanted === undefined ? -1 : addWanted(entries, wanted, config, locate);
  if (entries.length === 0) return undefined;
  const marked = config.labels.find(({ isMenuDefault }) => isMenuDefault)?.name;
  const markedIndex = entries.findIndex(({ id }) => id === marked);
  return {
    loader: `SYSLINUX (${file.place})`,
    entries,
    defaultIndex: defaultIndex < 0 ? Math.max(0, markedIndex) : defaultIndex,
  };
}

type Locate = (path: string) => DiskFile | undefined;

/**
 * The entry of a command line such as `linux single`: a label or, without a label, a kernel's path;
 * then further parameters. A menu program, such as menu.c32, chooses none.
 * @returns its index, or -1
 */
function addWanted(
  entries: BootEntry[],
  { name, options }: NonNullable<SyslinuxConfig['default']>,
  config: SyslinuxConfig,
  locate: Locate,
): number {
  const index = entries.findIndex(({ id }) => id.toLowerCase() === name.toLowerCase());
  const entry = entries[index];
  if (entry !== undefined) {
    if (options === '') return index;
    const commandLine = `${entry.commandLine} ${options}`.trim();
    entries.push({ ...entry, title: `${entry.title} ${options}`, commandLine });
    return entries.length - 1;
  }
  if (config.labels.some((label) => label.name === name)) return -1;
  const append = `${config.append ?? ''} ${options}`.trim();
  const implicit = { name, title: name, kernel: name, append, initrds: [], isMenuDefault: false };
  const added = bootEntry(implicit, config, locate);
  return added === undefined ? -1 : entries.push(added) - 1;
}

function bootEntry(
  label: SyslinuxLabel,
  { append: globalAppend = '' }: SyslinuxConfig,
  locate: Locate,
): BootEntry | undefined {
  const { name, title, kernel: path } = label;
  if (path === undefined || OTHER_PROGRAM.test(path)) return undefined;
  const kernel = locate(path);
  if (kernel === undefined) return undefined;
  const commandLine = label.append ?? globalAppend;
  const initrds = initrdPaths(label, commandLine).map(locate);
  const found = initrds.filter((file) => file !== undefined);
  if (found.length < initrds.length || found.length > INITRDS_MAX) return undefined;
  return { id: name, title, kernel, initrds: found, commandLine };
}

/** INITRD, or else the last `initrd=` among the parameters, which the kernel gets all the same. */
function initrdPaths({ initrds }: SyslinuxLabel, commandLine: string): readonly string[] {
  if (initrds.length > 0) return initrds;
  const words = commandLine.split(/\s+/).filter((word) => word.startsWith('initrd='));
  const value = words.at(-1)?.slice('initrd='.length) ?? '';
  return value.split(',').filter(Boolean);
}
