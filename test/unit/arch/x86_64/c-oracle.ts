/** Asks the C compiler what the kernel's headers say. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The values of C expressions, by the expressions, in a program that includes `headers`. */
export function evaluateC<E extends string>(
  headers: readonly string[],
  expressions: readonly E[],
): Record<E, number> {
  const directory = mkdtempSync(join(tmpdir(), 'tsvm-c-oracle-'));
  const source = [
    ...['stddef.h', 'stdio.h', ...headers].map((header) => `#include <${header}>`),
    'int main(void) {',
    ...expressions.map((expression) => `  printf("%llu\\n", (unsigned long long)(${expression}));`),
    '}',
  ].join('\n');
  try {
    const program = join(directory, 'program');
    execFileSync('gcc', ['-x', 'c', '-', '-o', program], { input: source });
    const lines = execFileSync(program, { encoding: 'utf8' }).split('\n');
    const entries = expressions.map((expression, index) => [expression, Number(lines[index])]);
    return Object.fromEntries(entries) as Record<E, number>;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
