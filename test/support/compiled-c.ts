/**
 * Compiles small C programs against the core's headers and sources, to test what C and TypeScript share.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../vmm/util/package-root.ts';

const ADDON = join(packageRoot(), 'kvm-addon');

/**
 * Compiles a program and runs it.
 * @param source includes headers as `tsvm/…` or by their path in `kvm-addon`
 * @param options `sources`: files of `kvm-addon` to compile with it; `input`: its standard input
 * @returns its standard output
 */
export function runC(
  source: string,
  options: { readonly sources?: readonly string[]; readonly input?: string | Uint8Array } = {},
): Buffer {
  const { sources = [], input = '' } = options;
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  try {
    const program = join(folder, 'program');
    const includes = ['-I', join(ADDON, 'include'), '-I', ADDON];
    const files = sources.map((file) => join(ADDON, file));
    const options = ['-D_GNU_SOURCE', ...includes, '-x', 'c', '-', ...files, '-lpthread'];
    execFileSync('gcc', [...options, '-o', program], { input: source });
    return execFileSync(program, { input });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
