/** Unified Kernel Images: the UAPI Group's specification of that name. */
import { posix } from 'node:path';
import type { BootEntry, DiskFile } from './boot-entry.ts';
import { configLines } from './config-lines.ts';
import type { BlsEntry } from './entry-order.ts';
import { readPeSections } from './pe-sections.ts';
import { findFile, listNames, readText, type SearchedVolume } from './searched-volume.ts';

const FOLDER = '/EFI/Linux';
const PROGRAMS_MAX = 256;
/** Where firmware finds a boot loader on its own; it may be a kernel. */
const REMOVABLE_MEDIA_PATH = '/EFI/BOOT/BOOTX64.EFI';

export function isUki(file: DiskFile): boolean {
  return (readPeSections(file) ?? []).some(({ name }) => name === '.linux');
}

/** The images where systemd-boot finds them. @throws TsvmError `invalid-disk` */
export function findUkis(volume: SearchedVolume): BlsEntry[] {
  const names = listNames(volume, FOLDER).filter((name) => /\.efi$/i.test(name));
  const paths = names.slice(0, PROGRAMS_MAX).map((name) => posix.join(FOLDER, name));
  return paths.flatMap((path) => ukisAt(volume, path));
}

/** The image that the firmware itself would start. @throws TsvmError `invalid-disk` */
export function findRemovableMediaUki(volume: SearchedVolume): BootEntry[] {
  return ukisAt(volume, REMOVABLE_MEDIA_PATH);
}

function ukisAt(volume: SearchedVolume, path: string): BlsEntry[] {
  const file = findFile(volume, path);
  const entry = file === undefined ? undefined : ukiEntry(file, posix.basename(path));
  return entry === undefined ? [] : [entry];
}

/** @returns undefined for a program without a kernel */
export function ukiEntry(file: DiskFile, fileName: string): BlsEntry | undefined {
  const sections = profileSections(file);
  const kernel = sections.get('.linux');
  if (kernel === undefined) return undefined;
  const text = (name: string): string => {
    const section = sections.get(name);
    return section === undefined ? '' : (readText(section).split('\0', 1)[0] ?? '');
  };
  const release = parseOsRelease(text('.osrel'));
  // Boot attempts may be counted in the name.
  const [, id = fileName, triesLeft] = /^(.*?)(?:\+(\d+)(?:-\d+)?)?\.efi$/i.exec(fileName) ?? [];
  const version = text('.uname') || release.get('VERSION_ID') || '';
  return {
    id,
    title: release.get('PRETTY_NAME') ?? release.get('NAME') ?? id,
    kernel,
    initrds: ['.ucode', '.initrd'].flatMap((name) => sections.get(name) ?? []),
    commandLine: text('.cmdline').replace(/\s+/g, ' ').trim(),
    sortKey: release.get('IMAGE_ID') ?? release.get('ID') ?? '',
    machineId: '',
    version: release.get('IMAGE_VERSION') ?? version,
    isExhausted: triesLeft !== undefined && Number(triesLeft) === 0,
  };
}

/** The sections of the first profile: those of all profiles, then its own. */
function profileSections(file: DiskFile): Map<string, DiskFile> {
  const sections = new Map<string, DiskFile>();
  let profiles = 0;
  for (const { name, content } of readPeSections(file) ?? []) {
    if (name === '.profile' && ++profiles === 2) break;
    sections.set(name, content);
  }
  return sections;
}

/** os-release(5). */
function parseOsRelease(text: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of configLines(text)) {
    const end = line.indexOf('=');
    if (end > 0) values.set(line.slice(0, end), line.slice(end + 1).replace(/^["']|["']$/g, ''));
  }
  return values;
}
