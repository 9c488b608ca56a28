import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { findProgram, PROGRAMS } from '../../../vmm/cli/programs.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';

const name = (line: string) => findProgram(line.split(' ')).name;

test('each command goes to the program that has it', () => {
  for (const program of PROGRAMS) {
    for (const command of program.commands) assert.equal(name(command), program.name, command);
    assert.ok(existsSync(join(packageRoot(), 'vmm/cli', program.entry)), program.entry);
  }
});

test('"tsvm image" has the verbs of three programs', () => {
  assert.equal(name('image create x 1M'), 'image');
  assert.equal(name('image'), 'image');
  assert.equal(name('image --help'), 'image');
  assert.equal(name('image no-such-verb'), 'image');
  assert.equal(name('image ls'), 'container');
  assert.equal(name('image pull busybox'), 'registry');
  assert.equal(name('system no-such-verb'), 'container');
});

test('everything else is for the program that runs machines', () => {
  for (const line of ['', '--help', '--version', 'no-such-command']) {
    assert.equal(name(line), 'machine', line);
  }
});
