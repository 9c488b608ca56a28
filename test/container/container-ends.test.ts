/** The end of a container: nothing of its output or exit code is lost, whoever looks, and whenever. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { ContainerShell, untilTrue } from '../support/container-shell.ts';

const shell = new ContainerShell();
const ok = shell.ok.bind(shell);
const sh = shell.sh.bind(shell);
const ROUNDS = 4;
const LINES = 20_000;
/** A container goes on when it has the file. */
const UNTIL_GO = 'until [ -e /go ]; do sleep 0.1; done';

before(() => shell.addImage('box'));
after(() => shell.close());
afterEach(() => sh('tsvm rm -f $(tsvm ps -aq)'));

function numbers(count: number): string {
  return Array.from({ length: count }, (_, index) => `${index + 1}\n`).join('');
}

async function supervisorOf(name: string): Promise<number> {
  return Number(await ok(`tsvm inspect -f '{{.State.Pid}}' ${name}`));
}

/** Number of the connections to a supervisor's API. */
function clientsOf(pid: number): number {
  const own = new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)));
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.split(/ +/))
    .filter(([, , , , , state, inode, path]) => {
      return state === '03' && path?.endsWith('control.sock') && own.has(`socket:[${inode}]`);
    }).length;
}

/** The descriptor may have been closed since it was listed. */
function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

test('logs -f has the last line, with and without --rm, however slow it is read', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const rm = round % 2 === 0 ? '--rm' : '';
    // The follower is there before the container ends, and reads most when it is gone.
    const followed = await ok(
      `tsvm run -d ${rm} --name told box sh -c 'seq 1 ${LINES}; ${UNTIL_GO}; echo last' >/dev/null; ` +
        'tsvm logs -f told | (read -r line; tsvm exec told touch /go; sleep 2; echo "$line"; cat)',
    );
    assert.equal(followed, `${numbers(LINES)}last\n`);
    await sh('tsvm rm -f told');
  }
});

test('wait returns when all output is in the log', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    await ok(`tsvm run -d --name waited box sh -c 'sleep 0.5; seq 1 ${LINES}; exit 3'`);
    assert.equal(await ok('tsvm wait waited'), '3\n');
    assert.equal(await ok('tsvm logs waited'), numbers(LINES));
    await ok('tsvm rm waited');
  }
});

test('wait has the code of a container that removes itself, and several have the same', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    await ok(`tsvm run -d --rm --name brief box sh -c '${UNTIL_GO}; exit ${round + 3}'`);
    const waiting = [1, 2, 3].map(() => ok('tsvm wait brief'));
    const pid = await supervisorOf('brief');
    await untilTrue(
      () => clientsOf(pid) === waiting.length,
      () => `${clientsOf(pid)} clients`,
    );
    // The container may end before the exec has.
    await sh('tsvm exec brief touch /go');
    assert.deepEqual(
      await Promise.all(waiting),
      [1, 2, 3].map(() => `${round + 3}\n`),
    );
    await shell.until('tsvm ps -aq', /^$/);
  }
});

test('after a kill -9 of the supervisor, every verb may be the first to find out', async () => {
  for (const [verb, code, shown] of [
    ['ps -a', 0, /Exited \(137\)/],
    ['rm dead', 0, /^dead$/m],
    ['rm -f dead', 0, /^dead$/m],
    ['start dead', 0, /^dead$/m],
    ['restart dead', 0, /^dead$/m],
    ['stop dead', 0, /^dead$/m],
    ['wait dead', 0, /^137$/m],
    ['logs -f dead', 0, /^said$/m],
    ['inspect -f {{.State.Status}}-{{.State.ExitCode}} dead', 0, /^exited-137$/m],
    ['rename dead other', 0, /^$/],
    ['container prune -f', 0, /[0-9a-f]{64}/],
    ['exec dead true', 1, /is not running/],
    ['kill dead', 1, /is not running/],
    ['attach dead', 1, /cannot attach to a stopped container/],
    ['top dead', 1, /is not running/],
    ['pause dead', 1, /is not running/],
  ] as const) {
    await ok(`tsvm run -d --name dead box sh -c 'echo said; exec sleep 1000'`);
    await shell.until('tsvm logs dead', /said/);
    await shell.killSupervisors('dead');
    const result = await sh(`tsvm ${verb}`);
    assert.equal(result.code, code, `${verb}: ${result.stderr}`);
    assert.match(result.stdout + result.stderr, shown, verb);
    await sh('tsvm rm -f $(tsvm ps -aq)');
    assert.deepEqual(shell.supervisors(), [], verb);
  }
});

test('several commands at once find a dead supervisor: one truth, and the name is free', async () => {
  await ok('tsvm run -d --name dead box sleep 1000');
  await shell.killSupervisors('dead');
  const seen = await Promise.all(
    [1, 2, 3, 4].map(() => ok('tsvm ps -a --format "{{.Names}} {{.Status}}"')),
  );
  for (const line of seen) assert.match(line, /^dead Exited \(137\) /);
  const removals = await Promise.all([1, 2, 3].map(() => sh('tsvm rm dead')));
  // Some may be too late.
  assert.ok(removals.some(({ code }) => code === 0));
  for (const { code, stderr } of removals) {
    assert.match(
      stderr,
      code === 0 ? /^$/ : /^Error response from daemon: No such container: dead$/m,
    );
  }
  assert.equal(await ok('tsvm run --rm --name dead box echo free'), 'free\n');
});

test('a record that names another process makes no command touch that process', async (t) => {
  const bystander = spawn('sleep', ['1000'], { stdio: 'ignore' });
  t.after(() => bystander.kill('SIGKILL'));
  const id = (await ok('tsvm run -d --name dead box sleep 1000')).trim();
  const path = join(shell.runtime, 'containers', id, 'machine.json');
  const record = JSON.parse(readFileSync(path, 'utf8'));
  await shell.killSupervisors('dead');
  // As when the number of the dead process has been given to another.
  writeFileSync(path, JSON.stringify({ ...record, pid: bystander.pid }));
  const state = join(shell.data, 'containers', id, 'state.json');
  const stored = JSON.parse(readFileSync(state, 'utf8'));
  writeFileSync(state, JSON.stringify({ ...stored, pid: bystander.pid }));
  await sh('tsvm kill dead; tsvm stop -t 0 dead');
  await ok('tsvm rm -f dead');
  assert.deepEqual([bystander.exitCode, bystander.signalCode], [null, null]);
});

test('a port is free at the instant its supervisor is killed', async () => {
  const [, port = ''] =
    /:(\d+)$/m.exec(
      await ok('tsvm run -d --name dead -p 127.0.0.1::80 box sleep 1000 >&2; tsvm port dead 80'),
    ) ?? [];
  const pid = await supervisorOf('dead');
  process.kill(pid, 'SIGKILL');
  // No command of ours has run since. The kernel closes what a process has when it reaps it.
  for (let tries = 0; ; tries++) {
    const server = createServer().listen(Number(port), '127.0.0.1');
    const free = await new Promise<boolean>((resolve) => {
      server.once('listening', () => resolve(true)).once('error', () => resolve(false));
    });
    server.close();
    if (free) break;
    assert.ok(tries < 600, `port ${port} is still taken`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
});

test('execs that are held keep no other client waiting, and many at once lose no code', async () => {
  await ok('tsvm run -d --name host box sleep 1000');
  const held = [1, 2, 3].map(() =>
    spawn('tsvm', ['exec', '-i', 'host', 'cat'], { env: shell.env, stdio: ['pipe', 'pipe', 2] }),
  );
  // Node drops what nobody reads when a process has ended.
  const echoed = held.map(async ({ stdout }) => await stdout?.setEncoding('utf8').toArray());
  assert.match(await ok('tsvm top host'), /sleep 1000/);
  const codes = Array.from({ length: 12 }, (_, index) => index + 1);
  const ends = await Promise.all(
    codes.map((code) => sh(`tsvm exec host sh -c 'echo ${code}; exit ${code}'`)),
  );
  assert.deepEqual(
    ends,
    codes.map((code) => ({ stdout: `${code}\n`, stderr: '', code })),
  );
  for (const { stdin } of held) stdin?.end('echo\n');
  assert.deepEqual(await Promise.all(echoed), [['echo\n'], ['echo\n'], ['echo\n']]);
  assert.match(await ok('tsvm ps'), /Up .*host/);
});
