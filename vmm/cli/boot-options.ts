import { InvalidArgumentError } from 'commander';
import { CPUS_MAX, type ImageDiskConfig } from '../machine/config.ts';
import { ENGINES } from '../machine/kernel-mode.ts';
import { LOG_LEVELS } from '../observability/logger.ts';
import { parseSize } from '../util/size.ts';
import type { ConsoleKind } from './host-console.ts';

const MIB = 2 ** 20;

/** `--memory`: bytes. A bare number counts MiB. */
export function parseMemory(text: string): number {
  const bytes = parseSize(text, MIB);
  if (bytes === undefined) {
    throw new InvalidArgumentError('Give a size such as 512M or 2G.');
  }
  return bytes;
}

/** `--cpus`. */
export function parseCpus(text: string): number {
  const cpus = Number(text);
  if (!/^\d+$/.test(text) || cpus < 1 || cpus > CPUS_MAX) {
    throw new InvalidArgumentError(`Give a number from 1 to ${CPUS_MAX}.`);
  }
  return cpus;
}

/** What may follow the file of `--disk`. */
const DISK_FLAGS: Readonly<Record<string, Partial<ImageDiskConfig>>> = {
  ro: { readOnly: true },
  overlay: { overlay: true },
  'format=raw': { format: 'raw' },
  'format=qcow2': { format: 'qcow2' },
  'backing=allow': { backing: 'allow' },
};

/**
 * `--disk FILE[,ro][,overlay][,format=raw|qcow2][,backing=allow]`. A comma in a file name is written
 * twice.
 */
export function parseDisk(text: string): ImageDiskConfig {
  const [path = '', ...flags] = text
    .split(/(?<!,),(?!,)/)
    .map((part) => part.replaceAll(',,', ','));
  if (path === '') throw new InvalidArgumentError('The file is missing.');
  let disk: ImageDiskConfig = {
    path,
    readOnly: false,
    overlay: false,
    format: undefined,
    backing: 'same-folder',
  };
  for (const flag of flags) {
    const setting = Object.hasOwn(DISK_FLAGS, flag) ? DISK_FLAGS[flag] : undefined;
    if (setting === undefined) {
      const known = Object.keys(DISK_FLAGS).join(', ');
      throw new InvalidArgumentError(`'${flag}' is not known after the file: there are ${known}.`);
    }
    disk = { ...disk, ...setting };
  }
  return disk;
}

/** `--console`. */
export function parseConsole(text: string): ConsoleKind {
  if (text === 'tty' || text === 'stdio' || text === 'none') return { kind: text };
  const path = text.startsWith('file:') ? text.slice('file:'.length) : '';
  if (path === '') throw new InvalidArgumentError('There are tty, stdio, file:PATH and none.');
  return { kind: 'file', path };
}

function oneOf<T extends string>(words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((known) => known === text);
    if (word === undefined) throw new InvalidArgumentError(`There are ${words.join(' and ')}.`);
    return word;
  };
}

/** `--engine`. */
export const parseEngine = oneOf(ENGINES);
/** `--log-level`. */
export const parseLogLevel = oneOf(LOG_LEVELS);
/** `--acpi`. */
export const parseOnOff = oneOf(['on', 'off'] as const);
/** `--on-reboot`. */
export const parseOnReboot = oneOf(['exit', 'restart'] as const);

/**
 * `--kernel` and the like: a file of which there is one. Another would take its place without a
 * word; options that set a value may be given again, and the last one counts.
 */
export function onlyOnce(text: string, before?: string): string {
  if (before !== undefined) {
    throw new InvalidArgumentError('It is given twice: give it once.');
  }
  if (text === '') throw new InvalidArgumentError('It is empty.');
  return text;
}

/** `--append`: what is given again is appended too. */
export function appendWords(text: string, before?: string): string {
  return before === undefined ? text : `${before} ${text}`;
}

/** `--cpu-mask`: given again, it hides more. */
export function addFlags(text: string, before: readonly string[]): readonly string[] {
  return [...before, ...text.split(',').filter((flag) => flag !== '')];
}

/** Options that may be given again and again. */
export function collect<T>(parse: (text: string) => T): (text: string, before?: T[]) => T[] {
  return (text, before = []) => [...before, parse(text)];
}
