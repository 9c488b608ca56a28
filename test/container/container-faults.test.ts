/** kill -9 of whoever has to do with a container, at any moment, and readers that are slow. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerShell } from '../support/container-shell.ts';

/** More rounds: TSVM_CONTAINER_KILLS=100. */
const ROUNDS = Number(process.env['TSVM_CONTAINER_KILLS'] ?? 4);
/** Runs and execs: TSVM_CONTAINER_EXECS=1000. */
const EXECS = Number(process.env['TSVM_CONTAINER_EXECS'] ?? 20);
/** From before there is a record until after a run has ended. */
const LONGEST_MS = 2500;

const VICTIMS = ['supervisor', 'client', 'passt', 'virtiofsd'] as const;

const shell = new ContainerShell();
const shared = join(shell.folder, 'shared');

before(() => shell.addImage('box'));
after(() => shell.close());

function supervisorPid(): number | undefined {
  try {
    const [id = ''] = shell.supervisors();
    const path = join(shell.runtime, 'containers', id, 'machine.json');
    return JSON.parse(readFileSync(path, 'utf8')).pid;
  } catch {
    return undefined;
  }
}

/** Processes of this name that the supervisor has started, or that those have. */
function helperPids(name: string): number[] {
  const parents = new Map<number, number>();
  const named: number[] = [];
  for (const pid of readdirSync('/proc').map(Number).filter(Number.isInteger)) {
    try {
      const [, command = '', parent = ''] =
        /\((.*)\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
      parents.set(pid, Number(parent));
      if (command.startsWith(name)) named.push(pid);
    } catch {
      // It has ended.
    }
  }
  const supervisor = supervisorPid();
  const isOurs = (pid: number | undefined): boolean =>
    pid !== undefined && pid > 1 && (pid === supervisor || isOurs(parents.get(pid)));
  return named.filter(isOurs);
}

/** Starts a run and kills somebody after `delayMs`. */
async function interruptedRun(words: string[], delayMs: number, victim: (typeof VICTIMS)[number]) {
  const child = spawn('tsvm', words, { env: shell.env, stdio: 'ignore' });
  const ended = once(child, 'exit');
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  const victims =
    victim === 'client'
      ? [child.pid]
      : victim === 'supervisor'
        ? [supervisorPid()]
        : helperPids(victim);
  for (const pid of victims) {
    try {
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended just now.
    }
  }
  await ended;
}

/** What no container, running or not, may leave. */
function leftovers(): string[] {
  return readdirSync(join(shell.data, 'containers')).filter((name) =>
    /^(?:[0-9a-f]{64}|removed-|\.)/.test(name),
  );
}

for (const victim of VICTIMS) {
  test(`kill -9 of the ${victim} at any moment of run --rm: the name is free again, nothing is left`, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const delayMs = LONGEST_MS * Math.random();
      await interruptedRun(
        ['run', '--rm', '--name', 'victim', '-v', `${shared}:/s`, 'box', 'sleep', '1'],
        delayMs,
        victim,
      );
      // A client's end leaves the container running: it ends by itself.
      await shell.until('tsvm ps -aq', /^$/);
      assert.equal(await shell.ok('tsvm run --rm --name victim box echo free'), 'free\n');
      assert.deepEqual(leftovers(), [], `after ${delayMs} ms`);
      assert.deepEqual(shell.supervisors(), []);
    }
  });
}

test('kill -9 of the one who stops, and of the supervisor while it is stopped', async () => {
  await shell.ok(`tsvm run -d --name stubborn box sh -c 'trap "" TERM; while :; do sleep 1; done'`);
  const stopping = spawn('tsvm', ['stop', '-t', '60', 'stubborn'], {
    env: shell.env,
    stdio: 'ignore',
  });
  await new Promise((resolve) => setTimeout(resolve, 700));
  stopping.kill('SIGKILL');
  await shell.killSupervisors('stubborn');
  assert.match(await shell.ok('tsvm ps -a'), /Exited \(137\)/);
  assert.equal(await shell.ok('tsvm start stubborn'), 'stubborn\n');
  await shell.ok('tsvm rm -f stubborn');
});

test('rm -f while run --rm ends: run tells its own code', async () => {
  const running = shell.sh('tsvm run --rm --name raced box sleep 1000');
  await shell.until('tsvm ps -q', /./);
  await shell.ok('tsvm rm -f raced');
  assert.equal((await running).code, 137);
  assert.deepEqual(leftovers(), []);
});

test('a reader that is slow gets everything, though the container has ended long before', async () => {
  const sums = await shell.ok(
    'tsvm run --rm box seq 1 100000 | (sleep 4; md5sum); seq 1 100000 | md5sum',
  );
  const [ours, expected] = sums.trim().split('\n');
  assert.equal(ours, expected);
});

test('short runs and execs lose no byte and no code', async () => {
  await shell.ok('tsvm run -d --name busy box sleep 1000');
  for (let round = 0; round < EXECS; round++) {
    const code = round % 5;
    // Every tenth is a container of its own; all sizes around a pipe's and a frame's are among them.
    const verb = round % 10 === 9 ? 'run --rm box' : 'exec busy';
    const bytes = (round * 7919) % 140_000;
    const script = `head -c ${bytes} /dev/zero | tr '\\0' x; echo e${round} >&2; exit ${code}`;
    const { stdout, ...rest } = await shell.sh(`tsvm ${verb} sh -c "${script}"`);
    assert.equal(stdout.length, bytes, `round ${round}: ${verb}`);
    assert.deepEqual(rest, { stderr: `e${round}\n`, code }, `round ${round}: ${verb}`);
  }
  await shell.ok('tsvm rm -f busy');
});
