/** The format of SYSLINUX's configuration (doc/syslinux.txt, "CONFIGURATION FILE"). */
import { TsvmError } from '../../../errors.ts';
import type { DiskFile } from './boot-entry.ts';
import { configLines } from './config-lines.ts';
import { readText } from './searched-volume.ts';

const LABELS_MAX = 512;
const FILES_MAX = 32;
const INCLUDE_DEPTH_MAX = 8;

/** A label as it is written; paths are relative to the configuration's folder. */
export interface SyslinuxLabel {
  readonly name: string;
  readonly title: string;
  /** Undefined for what boots no Linux. */
  readonly kernel: string | undefined;
  /** Undefined: the configuration's. */
  readonly append: string | undefined;
  readonly initrds: readonly string[];
  readonly isMenuDefault: boolean;
}

/** What a prompt would be answered with: a label or a kernel, and parameters. */
export interface SyslinuxChoice {
  readonly name: string;
  readonly options: string;
}

export interface SyslinuxConfig {
  readonly labels: readonly SyslinuxLabel[];
  readonly append: string | undefined;
  readonly default: SyslinuxChoice | undefined;
  readonly onTimeout: SyslinuxChoice | undefined;
}

type Draft<T> = { -readonly [K in keyof T]: T[K] };

/**
 * @param locate finds the files that it includes; those that are missing are left out
 * @throws TsvmError `invalid-disk`, also for files that include each other without end
 */
export function readSyslinuxConfig(
  file: DiskFile,
  locate: (path: string) => DiskFile | undefined,
): SyslinuxConfig {
  const reader = new Reader(locate);
  reader.read(file, 0);
  return reader.config();
}

class Reader {
  readonly #locate: (path: string) => DiskFile | undefined;
  readonly #labels: Draft<SyslinuxLabel>[] = [];
  readonly #global: Draft<Pick<SyslinuxConfig, 'append' | 'default' | 'onTimeout'>> = {
    append: undefined,
    default: undefined,
    onTimeout: undefined,
  };
  #files = 0;
  #isText = false;

  constructor(locate: (path: string) => DiskFile | undefined) {
    this.#locate = locate;
  }

  config(): SyslinuxConfig {
    return { ...this.#global, labels: this.#labels };
  }

  read(file: DiskFile, depth: number): void {
    this.#files++;
    if (depth > INCLUDE_DEPTH_MAX || this.#files > FILES_MAX) {
      throw new TsvmError('invalid-disk', 'it includes too many files, or files that include it');
    }
    for (const line of configLines(readText(file))) this.#line(line, depth);
  }

  #line(line: string, depth: number): void {
    const { word: keyword, rest } = firstWord(line);
    if (this.#isText) {
      this.#isText = keyword !== 'endtext';
      return;
    }
    switch (keyword) {
      case 'text':
        this.#isText = true;
        return;
      case 'include':
        this.#include(rest, depth);
        return;
      case 'default':
        this.#global.default = choice(rest);
        return;
      case 'ontimeout':
        this.#global.onTimeout = choice(rest);
        return;
      case 'label':
        this.#addLabel(rest);
        return;
      case 'menu':
        this.#menu(rest, depth);
        return;
      default:
        this.#labelled(keyword, rest);
    }
  }

  #include(path: string, depth: number): void {
    const file = this.#locate(path);
    if (file !== undefined) this.read(file, depth + 1);
  }

  #addLabel(name: string): void {
    if (this.#labels.length === LABELS_MAX) {
      throw new TsvmError('invalid-disk', `it has more than ${LABELS_MAX} labels`);
    }
    // A label without KERNEL is the name of a kernel.
    const unset = { append: undefined, initrds: [], isMenuDefault: false };
    this.#labels.push({ name, title: name, kernel: name, ...unset });
  }

  #menu(text: string, depth: number): void {
    const { word, rest } = firstWord(text);
    const label = this.#labels.at(-1);
    // The character after "^" is the entry's key.
    if (word === 'label' && label !== undefined) label.title = rest.replace('^', '');
    else if (word === 'default' && label !== undefined) label.isMenuDefault = true;
    else if (word === 'include') this.#include(firstWord(rest, false).word, depth);
  }

  #labelled(keyword: string, rest: string): void {
    const label = this.#labels.at(-1);
    if (keyword === 'append') {
      const append = rest === '-' ? '' : rest;
      if (label === undefined) this.#global.append = append;
      else label.append = append;
    }
    if (label === undefined) return;
    if (keyword === 'kernel' || keyword === 'linux') label.kernel = rest;
    else if (keyword === 'initrd') label.initrds = rest.split(',').filter(Boolean);
    else if (OTHER_KINDS.has(keyword)) label.kernel = undefined;
  }
}

/** Keywords of labels that boot something else. */
const OTHER_KINDS = new Set([
  ...['boot', 'bss', 'pxe', 'fdimage', 'comboot', 'com32', 'config', 'localboot'],
]);

function firstWord(text: string, lower = true): { word: string; rest: string } {
  const end = text.search(/\s/);
  const word = end < 0 ? text : text.slice(0, end);
  return { word: lower ? word.toLowerCase() : word, rest: end < 0 ? '' : text.slice(end).trim() };
}

function choice(text: string): SyslinuxChoice | undefined {
  const { word: name, rest: options } = firstWord(text, false);
  return name === '' ? undefined : { name, options };
}
