/** Initial RAM disks of programs compiled for the tests. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { initrdOf as initrdOfBytes } from '../../guest-images/cpio.ts';

/** An archive whose `/init` is this program. */
export function initrdOf(program: string): Uint8Array {
  return initrdOfBytes(readFileSync(program));
}

/** Compiles a static program for guests from C files. */
export function compileGuestProgram(target: string, sources: readonly string[]): void {
  const flags = ['-std=gnu11', '-O1', '-fomit-frame-pointer', '-static', '-Wall', '-Wextra'];
  execFileSync('gcc', [...flags, '-Werror', '-o', target, ...sources, '-lpthread'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}
