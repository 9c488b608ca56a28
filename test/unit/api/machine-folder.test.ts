import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  isMachineAlive,
  MachineFolder,
  readMachineRecord,
  takeDeadMachine,
} from '../../../vmm/api/machines/machine-folder.ts';
import { findMachine, runningMachines } from '../../../vmm/api/machines/running-machines.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { temporaryFolder } from '../../support/tsvm-process.ts';

const root = (context: TestContext) => join(temporaryFolder(context), 'machines');
const names = (folder: string) => runningMachines(folder).map(({ name }) => name);

test('a machine is listed from its claim until it releases its name', async (context) => {
  const folder = root(context);
  assert.deepEqual(names(folder), []);
  const machine = await MachineFolder.claim('web', folder);
  assert.deepEqual(names(folder), ['web']);
  assert.equal(findMachine('web', folder).record, undefined);
  machine.writeRecord({ pid: process.pid, startedMs: 1 });
  const { record } = findMachine('web', folder);
  assert.deepEqual(record, { version: 1, name: 'web', pid: process.pid, startedMs: 1 });
  machine[Symbol.dispose]();
  machine[Symbol.dispose]();
  assert.deepEqual(readdirSync(folder), []);
  assert.throws(() => findMachine('web', folder), { code: 'machine-not-found' });
});

test('a name has one machine', async (context) => {
  const folder = root(context);
  using _first = await MachineFolder.claim('web', folder);
  await assert.rejects(MachineFolder.claim('web', folder), { code: 'machine-exists' });
  using _other = await MachineFolder.claim('db', folder);
  assert.deepEqual(names(folder), ['db', 'web']);
});

/** Processes that claim a name at the same time, and keep it until they are killed. */
function startClaimant(folder: string) {
  const program = `
    import { MachineFolder } from '${packageRoot()}/vmm/api/machines/machine-folder.ts';
    process.stdin.once('data', async () => {
      try {
        globalThis.machine = await MachineFolder.claim('web', '${folder}');
        globalThis.machine.writeRecord({ pid: process.pid, startedMs: 1 });
        console.log('claimed');
        setInterval(() => {}, 1000);
      } catch (error) {
        console.log(error.code);
        process.exit();
      }
    });
    console.log('ready');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdout.setEncoding('utf8');
  return child;
}

test('of several starters of one name exactly one gets it, also after the last was killed', async (context) => {
  const folder = root(context);
  for (let round = 0; round < 3; round++) {
    const starters = [0, 1, 2].map(() => startClaimant(folder));
    context.after(() => {
      for (const starter of starters) starter.kill('SIGKILL');
    });
    await Promise.all(starters.map(({ stdout }) => once(stdout, 'data')));
    // Others look, and clean up, at the same time.
    const answers = starters.map(({ stdout }) => once(stdout, 'data'));
    for (const { stdin } of starters) stdin.write('go\n');
    let looking = true;
    const look = async () => {
      while (looking) {
        names(folder);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    };
    const looked = look();
    const results = (await Promise.all(answers)).map(([text]) => String(text).trim());
    looking = false;
    await looked;
    assert.deepEqual(results.sort(), ['claimed', 'machine-exists', 'machine-exists']);
    assert.deepEqual(names(folder), ['web']);
    for (const starter of starters) {
      const exited = starter.exitCode === null ? once(starter, 'exit') : undefined;
      starter.kill('SIGKILL');
      await exited;
    }
    // The record and the folder are left; the lock is not held.
    assert.ok(existsSync(join(folder, 'web', 'machine.json')));
  }
  assert.deepEqual(names(folder), []);
  assert.deepEqual(readdirSync(folder), []);
});

test('the remains of a dead machine are removed, including sockets and unknown files', async (context) => {
  const folder = root(context);
  mkdirSync(join(folder, 'dead'), { recursive: true, mode: 0o700 });
  for (const name of ['lock', 'machine.json', 'control.sock', 'x']) {
    writeFileSync(join(folder, 'dead', name), '');
  }
  // As a process leaves it that is killed at once.
  mkdirSync(join(folder, 'empty'), { mode: 0o700 });
  using _alive = await MachineFolder.claim('alive', folder);
  assert.deepEqual(names(folder), ['alive']);
  assert.deepEqual(readdirSync(folder), ['alive']);
});

test('who cleans up after a dead machine does not make it alive, but keeps its name', async (context) => {
  const folder = root(context);
  const path = join(folder, 'dead');
  {
    using taken = takeDeadMachine(path);
    assert.ok(taken);
    assert.equal(isMachineAlive(path), false);
    assert.deepEqual(names(folder), []);
    assert.equal(takeDeadMachine(path), undefined);
    await assert.rejects(MachineFolder.claim('dead', folder), { code: 'machine-exists' });
  }
  assert.deepEqual(readdirSync(folder), []);
  using _machine = await MachineFolder.claim('dead', folder);
  assert.equal(isMachineAlive(path), true);
  assert.equal(takeDeadMachine(path), undefined);
});

test('a damaged record is no record', async (context) => {
  const folder = root(context);
  using machine = await MachineFolder.claim('web', folder);
  for (const text of ['', '{', 'null', '[]', '{"version":1}', `"${'x'.repeat(70_000)}"`]) {
    writeFileSync(join(machine.path, 'machine.json'), text);
    assert.equal(readMachineRecord(machine.path), undefined, text.slice(0, 20));
  }
});

test('names with slashes, dots, newlines and the like are refused', async (context) => {
  const folder = root(context);
  for (const name of [
    '',
    '.',
    '..',
    '../x',
    'a/b',
    '/x',
    'a\nb',
    'a b',
    '-x',
    '.x',
    'é',
    'x'.repeat(65),
  ]) {
    await assert.rejects(MachineFolder.claim(name, folder), { code: 'invalid-config' }, name);
    assert.throws(() => findMachine(name, folder), { code: 'invalid-config' }, name);
  }
  assert.equal(existsSync(folder), false);
});

test('a folder that other users can write to, or a link, is refused', async (context) => {
  const parent = temporaryFolder(context);
  const open = join(parent, 'open');
  mkdirSync(open);
  chmodSync(open, 0o777);
  await assert.rejects(MachineFolder.claim('web', open), /other users can write/);
  assert.throws(() => runningMachines(open), /other users can write/);

  const real = join(parent, 'real');
  mkdirSync(real, { mode: 0o700 });
  const link = join(parent, 'link');
  symlinkSync(real, link);
  await assert.rejects(MachineFolder.claim('web', link), /not a folder/);
  assert.throws(() => runningMachines(link), /not a folder/);

  const machines = join(parent, 'machines');
  mkdirSync(machines, { mode: 0o700 });
  symlinkSync(real, join(machines, 'web'));
  await assert.rejects(MachineFolder.claim('web', machines), /not a folder/);
});

test('a lock file that is a link proves nothing and is not followed', async (context) => {
  const folder = root(context);
  mkdirSync(join(folder, 'web'), { recursive: true, mode: 0o700 });
  using other = await MachineFolder.claim('other', folder);
  symlinkSync(join(other.path, 'lock'), join(folder, 'web', 'lock'));
  assert.equal(isMachineAlive(join(folder, 'web')), false);
  assert.deepEqual(names(folder), ['other']);
  using own = await MachineFolder.claim('web', folder);
  assert.deepEqual(names(folder), ['other', own.name]);
});
