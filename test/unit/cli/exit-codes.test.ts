import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXIT_CODES, exitCodeLines } from '../../../vmm/cli/exit-codes.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';

test('the README lists the exit codes', () => {
  const readme = readFileSync(join(packageRoot(), 'README.md'), 'utf8');
  const table = /^\| exit code \| meaning \|\n.*\n((?:\|.*\n)+)/m.exec(readme)?.[1];
  const rows = EXIT_CODES.map(([code, meaning]) => `| ${code} | ${meaning} |`);
  assert.deepEqual(table?.trimEnd().replaceAll('`', '').split('\n'), rows);
});

test('the help lists the exit codes in aligned columns', () => {
  const lines = exitCodeLines().split('\n');
  assert.equal(lines.length, EXIT_CODES.length);
  assert.equal(lines[0], '  0        the guest powered off, or reset with --on-reboot exit');
  assert.equal(lines.at(-1), '  128 + N  signal N ended tsvm; Ctrl-A x counts as SIGTERM');
});
