/** Ctrl-C, and the like, at any moment of a start: the container gets it, or there is no container. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerShell } from '../support/container-shell.ts';

const shell = new ContainerShell();
/** From before there is a container until it runs, on a host that is not busy. */
const MOMENTS_MS = [0, 100, 200, 400, 900];

before(() => shell.addImage('box'));
after(() => shell.close());
afterEach(() => shell.sh('tsvm rm -f $(tsvm ps -aq)'));

interface Started {
  readonly ended: Promise<string | number>;
  readonly output: () => string;
  signal(signal: NodeJS.Signals): void;
}

/** Starts tsvm. It ends with an exit code, or by a signal. */
function start(words: readonly string[]): Started {
  const child = spawn('tsvm', words, { env: shell.env, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const ended = once(child, 'close').then(([code, signal]) => (signal ?? code) as string | number);
  return { ended, output: () => text, signal: (signal) => void child.kill(signal) };
}

/**
 * Whether SIGINT ended tsvm, which made nothing, or the process, by its trap. Given -c, busybox's shell
 * catches SIGINT from its start, and ends with 130 of one that comes before the trap is set.
 */
function endedBySigint(end: string | number, run: Started): boolean {
  return end === 'SIGINT' || end === 7 || (end === 130 && !run.output().includes('ready'));
}

test('SIGINT at any moment of run --rm: the process gets it, or nothing has been made', async () => {
  const script = 'trap "exit 7" INT; echo ready; while :; do sleep 0.1; done';
  for (const moment of MOMENTS_MS) {
    const run = start(['run', '--rm', '--name', 'brief', 'box', 'sh', '-c', script]);
    await sleep(moment);
    run.signal('SIGINT');
    // PID 1 ignores what it has no handler for yet, so that it may want another one.
    const again = setInterval(() => run.output().includes('ready') && run.signal('SIGINT'), 500);
    const end = await run.ended;
    clearInterval(again);
    assert.ok(endedBySigint(end, run), `after ${moment} ms: ${end}`);
    assert.equal(await shell.ok('tsvm ps -aq'), '', `after ${moment} ms`);
    await shell.until('ls run/containers | wc -l', /^0$/m);
  }
});

test('SIGINT at any moment of run -d: the container runs, or nothing has been made', async () => {
  for (const moment of MOMENTS_MS) {
    const run = start(['run', '-d', '--name', 'apart', 'box', 'sleep', '1000']);
    await sleep(moment);
    run.signal('SIGINT');
    const end = await run.ended;
    const id = run.output().trim();
    const shown = await shell.ok('tsvm ps -a --no-trunc --format "{{.ID}} {{.State}}"');
    if (end === 'SIGINT') assert.deepEqual([id, shown], ['', ''], `after ${moment} ms`);
    else assert.deepEqual([end, shown], [0, `${id} running\n`], `after ${moment} ms`);
    await shell.ok('tsvm rm -f apart');
  }
});

test('SIGINT at any moment of start -a: the process gets it, or the container is as before', async () => {
  const script = 'trap "exit 7" INT; echo ready; while :; do sleep 0.1; done';
  await shell.ok(`tsvm create --name again box sh -c '${script}'`);
  for (const moment of MOMENTS_MS) {
    const run = start(['start', '-a', 'again']);
    await sleep(moment);
    run.signal('SIGINT');
    const more = setInterval(() => run.output().includes('ready') && run.signal('SIGINT'), 500);
    const end = await run.ended;
    clearInterval(more);
    assert.ok(endedBySigint(end, run), `after ${moment} ms: ${end}`);
    assert.match(
      await shell.ok('tsvm ps -a --format "{{.Status}}"'),
      /^(?:Created|Exited \((?:7|130)\) .*)\n$/,
    );
  }
});

test('kill during a start waits for the process', async () => {
  const run = start(['run', '--name', 'early', 'box', 'sleep', '1000']);
  await shell.until('tsvm kill early', /^early$/m);
  assert.equal(await run.ended, 137);
  assert.match(await shell.ok('tsvm ps -a --format "{{.Status}}"'), /^Exited \(137\)/);
});

test('SIGINT amid the pull of run, to tsvm alone: it ends, and the pull with it', async (t) => {
  const clients = new Set<{ destroy(): void }>();
  // A registry that never answers.
  const server = createServer((socket) => clients.add(socket.resume().on('error', () => {})));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const client of clients) client.destroy();
    server.close();
  });
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const asked = once(server, 'connection');
  const run = start(['run', '--rm', `127.0.0.1:${address.port}/image`]);
  const [socket] = await asked;
  run.signal('SIGINT');
  assert.equal(await run.ended, 'SIGINT');
  // The process that pulls was the only one to hold the connection.
  if (!socket.destroyed) await once(socket, 'close');
  assert.equal(await shell.ok('tsvm ps -aq'), '');
});

test('SIGINT of stop and of rm -f: what they have begun is done', async () => {
  const untilGo = 'until [ -e /go ]; do sleep 0.1; done';
  const script = `trap "${untilGo}; exit 5" TERM; echo ready; while :; do sleep 0.1; done`;
  await shell.ok(`tsvm run -d --name slow box sh -c '${script}'`);
  await shell.until('tsvm logs slow', /ready/);
  const stop = start(['stop', '-t', '60', 'slow']);
  await shell.until('tsvm events --since 1h --until 0s --filter event=kill', /slow/);
  stop.signal('SIGINT');
  assert.equal(await stop.ended, 'SIGINT');
  // The container may end before the exec has.
  await shell.sh('tsvm exec slow touch /go');
  assert.equal(await shell.ok('tsvm wait slow'), '5\n');
  await shell.ok('tsvm start slow');
  for (const moment of [100, 200, 300, 500]) {
    const rm = start(['rm', '-f', 'slow']);
    await sleep(moment);
    rm.signal('SIGINT');
    await rm.ended;
    // The name is free at once, or the container is there and can be removed.
    await shell.ok('tsvm rm -f slow');
    assert.equal(await shell.ok('tsvm ps -aq'), '');
    assert.match(await shell.ok('tsvm run -d --name slow box sleep 1000'), /^[0-9a-f]{64}$/m);
  }
});
