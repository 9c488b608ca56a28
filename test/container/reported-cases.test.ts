/** What users of container tools have met: a test for each case that no other file has. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { busyboxMembers } from '../support/agent-guest.ts';
import { ContainerShell, untilTrue } from '../support/container-shell.ts';
import { makeImage, writeLayout } from '../support/image-maker.ts';
import { HOST_ADDRESS, NEEDS_ROOT, NetworkNamespace } from '../support/network-namespace.ts';
import { makeTar } from '../support/tar-maker.ts';

const shell = new ContainerShell();
const ok = shell.ok.bind(shell);
const sh = shell.sh.bind(shell);
const PATIENCE_MS = 180_000;
const MIB = 2 ** 20;

before(() => shell.addImage('box'));
after(() => shell.close());
afterEach(() => sh('tsvm rm -f $(tsvm ps -aq)'));

/** A process that nobody has waited for yet has ended, too. */
function hasEnded(pid: number): boolean {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

test('a raw terminal in the container: a line feed does not return to the first column', async (t) => {
  const session = shell.terminal(
    t,
    `tsvm run --rm -it box sh -c 'stty raw; printf "one\\ntwo\\r\\nend"'`,
  );
  const [, indent = ''] = await session.waitFor(/^one *\n( +)two/m, PATIENCE_MS);
  assert.equal(indent, '   ');
  assert.equal(await session.end(PATIENCE_MS), 0);
});

test('run without -t: a change of the window’s size reaches the process, and says nothing', async () => {
  const trap = `trap 'echo changed; exit 3' WINCH; echo ready; while :; do sleep 0.1; done`;
  const { stderr, stdout } = await sh(
    `tsvm run --name plain box sh -c "${trap}" >out 2>err & pid=$!; ` +
      'until grep -qs ready out; do sleep 0.1; done; kill -WINCH $pid; wait $pid; echo $?; cat out; cat err >&2',
  );
  assert.deepEqual([stdout, stderr], ['3\nready\nchanged\n', '']);
});

test('standard input of a script stays as it was: its next command waits for more', async () => {
  await ok('tsvm run -d --name taken box sleep 1000');
  for (const line of ['exec taken true', 'exec -i taken true', 'run --rm box true', 'load -q']) {
    const { stdout, stderr } = await sh(
      '(until [ -e ended ]; do sleep 0.1; done; sleep 0.5; echo later) | ' +
        `(timeout 5 tsvm ${line} >out 2>&1; touch ended; cat); rm ended`,
    );
    assert.deepEqual([stdout, stderr], ['later\n', ''], line);
  }
});

test('Ctrl-C on run without -t is one SIGINT', async (t) => {
  const trap = `trap "echo int" INT; trap "exit 4" TERM; echo ready; while :; do sleep 0.1; done`;
  const session = shell.terminal(t, `tsvm run --name once box sh -c '${trap}'`);
  await session.waitFor(/^ready/m, PATIENCE_MS);
  session.type('\x03');
  await session.waitFor(/int$/m, PATIENCE_MS);
  await sleep(1000);
  await ok('tsvm stop once');
  assert.equal(await session.end(PATIENCE_MS), 4);
  assert.equal(await ok('tsvm logs once'), 'ready\nint\n');
});

test('a program of mode 000 is not executable: 126, by run and by exec', async () => {
  await ok(
    'tsvm run -d --name modes box sh -c "cp /bin/busybox /program; chmod 0 /program; sleep 1000"',
  );
  await shell.until('tsvm exec modes stat -c %a /program', /^0$/m);
  assert.equal((await sh('tsvm exec modes /program')).code, 126);
  await ok('tsvm commit modes without');
  assert.equal((await sh('tsvm run --rm without /program')).code, 126);
  await ok('tsvm rm -f modes && tsvm rmi without');
});

test('a shell of exec outlives a pause of the container, and leaving it leaves the container alone', async (t) => {
  await ok('tsvm run -d --name silent box sleep 1000');
  const session = shell.terminal(t, 'tsvm exec -it silent sh');
  await session.waitFor(/ #$/m, PATIENCE_MS);
  await ok('tsvm pause silent');
  await sleep(3000);
  await ok('tsvm unpause silent');
  session.type('echo still $((40 + 2))\r');
  await session.waitFor(/^still 42/m, PATIENCE_MS);
  session.type('exit 6\r');
  assert.equal(await session.end(PATIENCE_MS), 6);
  assert.match(await ok('tsvm ps'), /Up .*silent/);
});

test('the clock of a container that was paused is right at once', async () => {
  await ok('tsvm run -d --name late box sleep 1000');
  await ok('tsvm pause late');
  await sleep(5000);
  await ok('tsvm unpause late');
  const before = Date.now() / 1000;
  const guest = Number(await ok('tsvm exec late date +%s'));
  assert.ok(
    guest >= Math.floor(before) - 3 && guest <= Date.now() / 1000 + 1,
    `${guest} ${before}`,
  );
});

test('rm -f of a container whose supervisor hangs: the name is free, and no process is left', async () => {
  await ok('tsvm run -d --name wedged box sleep 1000');
  const pid = Number(await ok(`tsvm inspect -f '{{.State.Pid}}' wedged`));
  process.kill(pid, 'SIGSTOP');
  await ok('tsvm rm -f wedged', { timeoutMs: 180_000 });
  assert.deepEqual(shell.supervisors(), []);
  await untilTrue(
    () => hasEnded(pid),
    () => `${pid} has not ended`,
  );
  assert.equal(await ok('tsvm run --rm --name wedged box echo again'), 'again\n');
});

test('memory that a container has freed goes back to the host', async () => {
  await ok('tsvm run -d --name memory -m 1g --tmpfs /t:size=600m box sleep 1000');
  const pid = (await ok(`tsvm inspect -f '{{.State.Pid}}' memory`)).trim();
  const resident = () => {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return 1024 * Number(/^Pss: +(\d+) kB/m.exec(text)?.[1]);
  };
  const idle = resident();
  await ok('tsvm exec memory dd if=/dev/zero of=/t/file bs=1M count=400');
  const full = resident();
  assert.ok(full - idle > 350 * MIB, `${idle} ${full}`);
  await ok('tsvm exec memory rm /t/file');
  await untilTrue(
    () => resident() < idle + 100 * MIB,
    () => `${idle} ${full} ${resident()}`,
  );
});

test(
  'a resolver on the host’s loopback: containers resolve names all the same',
  NEEDS_ROOT,
  async (t) => {
    const resolver = '127.0.0.53';
    const namespace = await NetworkNamespace.create(t, { nameServer: resolver });
    const options = ['--keep-in-foreground', '--conf-file=/dev/null', '--no-hosts', '--no-resolv'];
    const address = ['--bind-interfaces', `--listen-address=${resolver}`, '--pid-file='];
    namespace.start(
      t,
      'dnsmasq',
      ...options,
      ...address,
      `--address=/named.example/${HOST_ADDRESS}`,
    );
    const enter = namespace.enter.join(' ');
    await shell.until(
      `${enter} tsvm run --rm box nslookup named.example`,
      new RegExp(`Address: ${HOST_ADDRESS}`),
    );
  },
);

test('an OCI image layout loads, whatever manifest.json is beside it: socktainer#218', async () => {
  const image = makeImage({ layers: [makeTar(busyboxMembers([]))], run: { Cmd: ['true'] } });
  const layout = join(shell.folder, 'foreign');
  mkdirSync(layout);
  writeLayout(layout, image);
  const foreign = [{ Config: 'abc.json', RepoTags: ['x:1'], Layers: ['abc/layer.tar'] }];
  const own = [
    { Config: `blobs/sha256/${image.config.slice(7)}`, RepoTags: ['named:1'], Layers: [] },
  ];
  for (const [content, names] of [
    [JSON.stringify(foreign), ''],
    [JSON.stringify([...foreign, ...own]), 'named:1'],
    [JSON.stringify([{ ...own[0], RepoTags: ['NO NAME'] }]), ''],
    ['[{"Config":', ''],
    ['{}', ''],
    ['[null]', ''],
    ['', ''],
  ] as const) {
    writeFileSync(join(layout, 'manifest.json'), content);
    assert.match(
      await ok('tar -C foreign -cf foreign.tar . && tsvm load -i foreign.tar'),
      /^Loaded image/,
    );
    const tags = await ok(`tsvm image inspect -f '{{join .RepoTags " "}}' ${image.config}`);
    assert.equal(tags, `${names}\n`, content);
    await ok(`tsvm rmi -f ${image.config}`);
  }
});

test('a failed run leaves its last output and the reason; nothing hints at what is gone', async () => {
  const failed = await sh(`tsvm run --rm box sh -c 'echo last words; exit 9'`);
  assert.deepEqual(failed, { stdout: 'last words\n', stderr: '', code: 9 });
  await ok(`tsvm run -d --name died box sh -c 'echo last words; exit 9'`);
  await ok('tsvm wait died');
  assert.equal(await ok('tsvm logs died'), 'last words\n');
});
