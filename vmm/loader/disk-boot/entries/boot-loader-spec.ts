/**
 * Entries of the Boot Loader Specification (UAPI Group), type 1: text files in `loader/entries`.
 */
import { posix } from 'node:path';
import type { DiskFile } from './boot-entry.ts';
import { configLines } from './config-lines.ts';
import type { BlsEntry } from './entry-order.ts';
import { findFile, listNames, readText, type SearchedVolume } from './searched-volume.ts';
import { isUki, ukiEntry } from './uki.ts';

const ENTRIES_MAX = 512;
/** Values of one key, and files of one entry. */
const VALUES_MAX = 64;

/** An entry's keys in lower case; a key may have several values. */
export type BlsFields = ReadonlyMap<string, readonly string[]>;

/** Replaces variables in a value; GRUB's entries have some. */
export type Expand = (value: string) => string;

export function parseBlsFields(text: string): BlsFields {
  const fields = new Map<string, string[]>();
  for (const line of configLines(text)) {
    const end = line.search(/\s/);
    if (end < 0) continue;
    const key = line.slice(0, end).toLowerCase();
    const values = fields.get(key) ?? [];
    if (values.length < VALUES_MAX) values.push(line.slice(end).trim());
    fields.set(key, values);
  }
  return fields;
}

/**
 * The entries in a directory whose kernels exist, in no order.
 * @param folder `/loader/entries` or `/boot/loader/entries`
 * @throws TsvmError `invalid-disk`
 */
export function readBlsEntries(
  volume: SearchedVolume,
  folder: string,
  expand: Expand = (value) => value,
): BlsEntry[] {
  const names = listNames(volume, folder).filter((name) => name.endsWith('.conf'));
  const entries: BlsEntry[] = [];
  for (const name of names.slice(0, ENTRIES_MAX)) {
    const file = findFile(volume, posix.join(folder, name));
    if (file === undefined) continue;
    const entry = blsEntry(volume, folder, name, parseBlsFields(readText(file)), expand);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

function blsEntry(
  volume: SearchedVolume,
  folder: string,
  fileName: string,
  fields: BlsFields,
  expand: Expand,
): BlsEntry | undefined {
  const architecture = fields.get('architecture')?.[0];
  if (architecture !== undefined && architecture.toLowerCase() !== 'x64') return undefined;
  const words = (key: string) => (fields.get(key) ?? []).map(expand);
  const locate = (path: string) => findBeside(volume, folder, path);
  const [kernelPath] = [...words('linux'), ...words('uki'), ...words('efi')];
  const kernel = kernelPath === undefined ? undefined : locate(kernelPath);
  if (kernel === undefined) return undefined;
  // Fedora has several on one line.
  const initrdPaths = words('initrd')
    .flatMap((line) => line.split(/\s+/))
    .filter(Boolean);
  if (initrdPaths.length > VALUES_MAX) return undefined;
  const initrds = initrdPaths.map(locate);
  if (initrds.includes(undefined)) return undefined;
  const id = fileName.slice(0, -'.conf'.length);
  const counter = /\+(\d+)(-\d+)?$/.exec(id);
  const order = {
    sortKey: fields.get('sort-key')?.[0] ?? '',
    machineId: fields.get('machine-id')?.[0] ?? '',
    version: fields.get('version')?.[0] ?? '',
    isExhausted: counter !== null && Number(counter[1]) === 0,
  };
  const options = words('options').join(' ').trim();
  const common = { id: counter === null ? id : id.slice(0, counter.index), ...order };
  if (isUki(kernel)) {
    const uki = ukiEntry(kernel, fileName);
    if (uki === undefined) return undefined;
    return { ...uki, ...common, ...(options !== '' && { commandLine: options }) };
  }
  return {
    ...common,
    title: fields.get('title')?.[0] ?? id,
    kernel,
    initrds: initrds.filter((file) => file !== undefined),
    commandLine: options,
  };
}

/**
 * A file that an entry names. Its path is relative to the root of the file system; but where
 * `loader` is in `/boot` of a root file system, some write it relative to `/boot`.
 */
function findBeside(volume: SearchedVolume, folder: string, path: string): DiskFile | undefined {
  const normal = path.replaceAll('\\', '/');
  return findFile(volume, normal) ?? findFile(volume, posix.join(folder, '../..', normal));
}
