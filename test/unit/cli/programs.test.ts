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
    for (const verb of program.imageVerbs ?? []) {
      assert.equal(name(`image ${verb}`), program.name, verb);
    }
    assert.ok(existsSync(join(packageRoot(), 'vmm/cli', program.entry)), program.entry);
  }
});

test('"tsvm image" has the verbs of two programs', () => {
  assert.equal(name('image create x 1M'), 'image');
  assert.equal(name('image'), 'image');
  assert.equal(name('image --help'), 'image');
  assert.equal(name('image no-such-verb'), 'image');
  assert.equal(name('image pull busybox'), 'container');
});

test('everything else is for the program that runs machines', () => {
  for (const line of ['', '--help', '--version', 'no-such-command']) {
    assert.equal(name(line), 'machine', line);
  }
});
