/** GRUB: finds its configuration and what it would offer. */
import { posix } from 'node:path';
import { TsvmError } from '../../../../errors.ts';
import type { BootEntry, BootMenu, DiskFile } from '../boot-entry.ts';
import { readBlsEntries } from '../boot-loader-spec.ts';
import { findFile, listNames, readText, type SearchedVolume } from '../searched-volume.ts';
import { compareVersions } from '../version-order.ts';
import { grubBuiltins } from './builtins.ts';
import { GrubDevices } from './devices.ts';
import { type GrubBuiltin, Interpreter, type MenuBlock, newEffort } from './interpreter.ts';
import { entryOfDefault, flattenMenu, type MenuItem } from './menu.ts';
import { expandVariables } from './words.ts';

const FOLDERS = ['/boot/grub', '/boot/grub2', '/grub', '/grub2'];
const NAME = 'grub.cfg';
const VENDORS_MAX = 16;
const SUBMENU_DEPTH_MAX = 4;

/** What GRUB's core sets, as for a machine with UEFI; configurations ask for these. */
const INITIAL_VARIABLES: Readonly<Record<string, string>> = {
  grub_platform: 'efi',
  grub_cpu: 'x86_64',
  ...Object.fromEntries(
    [
      ...['menuentry_id', 'platform_search_hint', 'default_font_path', 'timeout_style'],
      ...['all_video_module', 'chainloader_bpb', 'ntldr', '200_final', 'nativedisk_cmd'],
    ].map((name) => [`feature_${name}`, 'y']),
  ),
  // Ubuntu's cloud images first try to boot without their initrd.
  initrdfail: '1',
};

/**
 * The menus of all configurations on the disk, those with entries.
 * @param report receives what is wrong with the others
 */
export function grubMenus(
  volumes: readonly SearchedVolume[],
  report: (problem: string) => void,
): BootMenu[] {
  return volumes.flatMap((volume) => {
    const vendors = listNames(volume, '/EFI').slice(0, VENDORS_MAX);
    const folders = [...FOLDERS, ...vendors.map((name) => `/EFI/${name}`)];
    return folders.flatMap((folder) => {
      const file = findFile(volume, posix.join(folder, NAME));
      if (file === undefined) return [];
      try {
        const menu = grubMenu(volumes, volume, folder, file);
        return menu === undefined ? [] : [menu];
      } catch (error) {
        if (!(error instanceof SyntaxError) && !(error instanceof TsvmError)) throw error;
        report(`${file.place}: ${error.message}`);
        return [];
      }
    });
  });
}

/** @throws SyntaxError, TsvmError `invalid-disk` */
export function grubMenu(
  volumes: readonly SearchedVolume[],
  volume: SearchedVolume,
  folder: string,
  file: DiskFile,
): BootMenu | undefined {
  const devices = new GrubDevices(volumes);
  const builtins = grubBuiltins(devices);
  builtins.set('blscfg', blscfg(devices));
  const interpreter = new Interpreter(builtins, newEffort());
  const prefix = `(${volume.grubDevice})${folder}`;
  const initial = {
    ...INITIAL_VARIABLES,
    ...{ root: volume.grubDevice, prefix, config_directory: prefix, cmdpath: prefix },
  };
  for (const [name, value] of Object.entries(initial)) interpreter.variables.set(name, value);
  interpreter.runText(readText(file));
  const items = resolveMenu(interpreter, devices, SUBMENU_DEPTH_MAX);
  const entries = flattenMenu(items);
  const [first] = entries;
  if (first === undefined) return undefined;
  const chosen = entryOfDefault(items, interpreter.valueOf('default') || '0') ?? first;
  const defaultIndex = Math.max(0, entries.indexOf(chosen));
  return { loader: `GRUB (${file.place})`, entries, defaultIndex };
}

/** Runs the blocks of a menu, as GRUB does when one is chosen. */
function resolveMenu(scope: Interpreter, devices: GrubDevices, depth: number): MenuItem[] {
  return scope.menu.map((item) => {
    if ('items' in item) return item;
    const inner = scope.inner(item.args);
    inner.variables.set('chosen', item.id);
    const { title, id } = item;
    if (item.kind === 'submenu' && depth === 0) return { title, id, entry: undefined, items: [] };
    inner.run(item.body);
    if (item.kind === 'menuentry') {
      return { title, id, entry: loadedEntry(inner, devices, item), items: [] };
    }
    return { title, id, entry: undefined, items: resolveMenu(inner, devices, depth - 1) };
  });
}

function loadedEntry(
  { loaded }: Interpreter,
  devices: GrubDevices,
  { id, title }: MenuBlock,
): BootEntry | undefined {
  const [path, ...parameters] = loaded?.kernel ?? [];
  const kernel = path === undefined ? undefined : devices.file(path, '');
  if (loaded === undefined || kernel === undefined) return undefined;
  const initrds = loaded.initrds.map((initrd) => devices.file(initrd, ''));
  const found = initrds.filter((initrd) => initrd !== undefined);
  if (found.length < initrds.length) return undefined;
  return { id, title, kernel, initrds: found, commandLine: parameters.join(' ') };
}

/** Fedora's command that makes entries of BLS files: its patch "blscfg". */
function blscfg(devices: GrubDevices): GrubBuiltin {
  return (_args, scope) => {
    const volume = devices.volume(scope.valueOf('boot')) ?? devices.volume(scope.valueOf('root'));
    if (volume === undefined) return false;
    const folders = [scope.valueOf('blsdir'), '/loader/entries', '/boot/loader/entries'];
    for (const folder of folders.filter((name) => name !== '')) {
      // Variables such as $kernelopts and $tuned_params are in Fedora's options.
      const expand = (value: string) => expandVariables(value, (name) => scope.valueOf(name));
      const entries = readBlsEntries(volume, folder, expand);
      scope.work(entries.length);
      if (entries.length === 0) continue;
      entries.sort((a, b) => compareVersions(b.id, a.id));
      for (const entry of entries) {
        scope.menu.push({ title: entry.title, id: entry.id, entry, items: [] });
      }
      return true;
    }
    return false;
  };
}
