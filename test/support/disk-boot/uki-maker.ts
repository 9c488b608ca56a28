/** Unified kernel images created by objcopy, as their specification suggests. */
import { writeFileSync } from 'node:fs';
import { run } from './file-system-images.ts';

export interface UkiParts {
  /** Files. */
  readonly linux: string;
  readonly initrd?: string;
  /** Texts. */
  readonly cmdline?: string;
  readonly osrel?: string;
  readonly uname?: string;
}

const SECTION_ALIGN = 0x1000;
const FIRST_ADDRESS = 0x2000000;
const ADDRESS_STEP = 0x8000000;

/** A stub that is a minimal PE file, to which objcopy adds sections. */
function makeStub(path: string): void {
  const assembly = `${path}.s`;
  writeFileSync(assembly, '.globl _start\n_start: ret\n');
  run('gcc', '-c', '-o', `${path}.o`, assembly);
  run('objcopy', '-O', 'pei-x86-64', '--subsystem', 'efi-app', `${path}.o`, path);
}

export function makeUki(path: string, { linux, initrd, ...texts }: UkiParts): void {
  const files: Record<string, string> = { '.linux': linux };
  if (initrd !== undefined) files['.initrd'] = initrd;
  for (const [name, text] of Object.entries(texts)) {
    const file = `${path}.${name}`;
    writeFileSync(file, text);
    files[`.${name}`] = file;
  }
  const stub = `${path}.stub`;
  makeStub(stub);
  const sections = Object.entries(files).flatMap(([name, file], index) => {
    const address = FIRST_ADDRESS + index * ADDRESS_STEP;
    return [
      ...['--add-section', `${name}=${file}`],
      ...['--change-section-vma', `${name}=${address}`],
      ...['--set-section-flags', `${name}=data,readonly`],
    ];
  });
  run('objcopy', '--section-alignment', String(SECTION_ALIGN), ...sections, stub, path);
  run('rm', stub, `${stub}.o`, `${stub}.s`, ...Object.keys(texts).map((name) => `${path}.${name}`));
}
