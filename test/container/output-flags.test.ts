/** What verbs write to keeps its flags: other processes of a script share it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ContainerShell } from '../support/container-shell.ts';

/** x86-64 Linux, include/uapi/asm-generic/fcntl.h */
const O_NONBLOCK = 0o4000;

const shell = new ContainerShell();

before(() => {
  shell.addImage('flags');
});
after(() => shell.close());

/** @returns the open flags of the shell's standard output and standard error after these commands */
async function flagsAfter(commands: string, redirection: string): Promise<number[]> {
  const script = `${commands}; grep -h ^flags /proc/$$/fdinfo/1 /proc/$$/fdinfo/2 >&3`;
  await shell.sh(`sh -c '${script}' 3>flags ${redirection}`);
  const lines = await shell.ok('cat flags');
  const flags = Array.from(lines.matchAll(/^flags:\t(\d+)$/gm), ([, octal = '']) =>
    Number.parseInt(octal, 8),
  );
  assert.equal(flags.length, 2, lines);
  return flags;
}

/** Commands that write archives and ask questions, close sockets, load undici, or print help. */
const COMMANDS = [
  'tsvm save flags',
  'tsvm create --name made flags',
  'tsvm export made',
  'tsvm cp made:/bin/busybox -',
  'tsvm rm made',
  'tsvm run --rm flags true',
  'tsvm system prune </dev/null',
  'tsvm pull localhost:1/nothing',
  'tsvm login -u me -p secret localhost:1',
  'tsvm --help',
  'tsvm run --help',
];

for (const command of COMMANDS) {
  test(`${command} leaves a pipe and a socket blocking`, async () => {
    // What the test's process hands over as standard output and standard error are sockets.
    for (const redirection of ['2>&1 | cat', '']) {
      for (const flags of await flagsAfter(command, redirection)) {
        assert.equal(flags & O_NONBLOCK, 0, `${redirection}: 0${flags.toString(8)}`);
      }
    }
  });
}
