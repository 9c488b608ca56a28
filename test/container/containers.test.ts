/** Containers in real machines, by the lines that people type. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerShell } from '../support/container-shell.ts';
import { startRegistry } from '../support/registry.ts';

const shell = new ContainerShell();
const { ok, sh } = {
  ok: shell.ok.bind(shell),
  sh: shell.sh.bind(shell),
};
const PATIENCE_MS = 180_000;

before(() => {
  shell.addImage('box');
  shell.addImage('entry', {
    Entrypoint: ['echo', 'entry'],
    Cmd: ['default'],
    Env: ['COLOUR=blue'],
    WorkingDir: '/srv/app',
    User: 'ann',
    Labels: { tier: 'back' },
    StopSignal: 'SIGUSR1',
  });
});
after(() => shell.close());
// What a failed test has left does not fail the ones after it.
afterEach(() => sh('tsvm rm -f $(tsvm ps -aq)'));

test('run --rm: output, streams apart, exit code, nothing left', async () => {
  const line = `tsvm run --rm box sh -c 'echo out; echo err >&2; exit 7'`;
  assert.deepEqual(await sh(line), { stdout: 'out\n', stderr: 'err\n', code: 7 });
  assert.equal(await ok('tsvm ps -aq'), '');
  assert.deepEqual(shell.supervisors(), []);
  assert.deepEqual(
    readdirSync(join(shell.data, 'containers')).filter((name) => /[0-9a-f]{64}/.test(name)),
    [],
  );
});

test('exit codes 125, 126, 127 and 128+n', async () => {
  const missing = await sh('tsvm run --rm box no-such-program');
  assert.equal(missing.code, 127);
  assert.match(missing.stderr, /"no-such-program": executable file not found in \$PATH/);
  assert.equal((await sh('tsvm run --rm box /bin/no-such-program')).code, 127);
  const folder = await sh('tsvm run --rm box /etc');
  assert.equal(folder.code, 126);
  assert.match(folder.stderr, /permission denied/);
  assert.equal((await sh('tsvm run --rm --pull never no-such-image')).code, 125);
  assert.equal((await sh('tsvm run --no-such-flag box')).code, 125);
  const killed = `sh -c "kill -9 \\$\\$"; exit $?`;
  assert.equal((await sh(`tsvm run --rm box sh -c '${killed}'`)).code, 137);
  assert.equal(await ok('tsvm ps -aq'), '');
});

test('stdin: any length, its end, and none without -i', async () => {
  const text = 'line\n'.repeat(300_000);
  const counted = await ok('tsvm run -i --rm box wc -c', { input: text });
  assert.equal(Number(counted), text.length);
  assert.equal(await ok('tsvm run --rm box cat', { input: 'unread' }), '');
});

test('run -a stdin: without its output, the ID is what is seen', async () => {
  const id = await ok(`tsvm run -a stdin -i --name fed box cat`, { input: 'text' });
  assert.match(id, /^[0-9a-f]{64}\n$/);
  await ok('tsvm wait fed');
  assert.equal(await ok('tsvm logs fed'), 'text');
  await ok('tsvm rm fed');
});

test('a large output arrives whole, and is in the log', async () => {
  const sum = await ok(
    `tsvm run --name big box sh -c 'seq 1 200000' | tee out.txt | md5sum; seq 1 200000 | md5sum`,
  );
  const [ours, expected] = sum.trim().split('\n');
  assert.equal(ours, expected);
  assert.equal(await ok('tsvm logs big | md5sum'), `${expected}\n`);
  assert.equal(await ok('tsvm logs -n 2 big'), '199999\n200000\n');
  await ok('tsvm rm big');
});

test("the image's settings, and what replaces them", async () => {
  assert.equal(await ok('tsvm run --rm entry'), 'entry default\n');
  assert.equal(await ok('tsvm run --rm entry other words'), 'entry other words\n');
  assert.equal(
    await ok(`tsvm run --rm --env V=1 --entrypoint 'sh' entry -c 'echo $V $COLOUR; pwd; id -un'`),
    '1 blue\n/srv/app\nann\n',
  );
  assert.equal(
    await ok(`tsvm run --rm -u 0:1 -w /made/here --entrypoint sh entry -c 'pwd; id -u; id -g'`),
    '/made/here\n0\n1\n',
  );
  writeFileSync(join(shell.folder, 'env'), '# a comment\nONE=1\nCOLOUR=red\nFROM_HOST\n');
  assert.equal(
    await ok(
      `FROM_HOST=yes tsvm run --rm --env-file env --entrypoint sh entry -c 'echo $ONE $COLOUR $FROM_HOST'`,
    ),
    '1 red yes\n',
  );
});

test('run -d, ps, logs -f, stop, ps -a, start, rm', async () => {
  const id = (await ok(`tsvm run -d --name web box sh -c 'echo ready; sleep 1000'`)).trim();
  assert.match(id, /^[0-9a-f]{64}$/);
  const short = id.slice(0, 12);
  assert.match(
    await ok('tsvm ps'),
    new RegExp(
      `^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES\n${short} +box +"sh -c 'echo ready; …" +.* ago +Up .* +web\n$`,
    ),
  );
  assert.equal(await ok('tsvm ps -q'), `${short}\n`);
  await shell.until('tsvm logs web', /^ready\n$/);
  const following = sh('tsvm logs -f web');
  assert.equal(await ok('tsvm stop -t 0 web'), 'web\n');
  assert.deepEqual(await following, { stdout: 'ready\n', stderr: '', code: 0 });
  assert.equal(await ok('tsvm ps -q'), '');
  assert.match(await ok('tsvm ps -a'), /Exited \(137\) .* ago/);
  assert.equal(await ok(`tsvm ps -l --format '{{.Names}} {{.State}}'`), 'web exited\n');
  assert.equal(await ok('tsvm start web'), 'web\n');
  assert.equal(await ok(`tsvm ps --format '{{.Names}}'`), 'web\n');
  const refused = await sh('tsvm rm web');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /cannot remove container "\/web": container is running: stop the/);
  assert.equal(await ok('tsvm rm -f $(tsvm ps -a -q)'), `${short}\n`);
  assert.equal(await ok('tsvm ps -aq'), '');
});

test('a container that ends by itself is shown by ps -a', async () => {
  await ok(`tsvm run -d --name brief box sh -c 'sleep 0.2; exit 3'`);
  assert.equal(await ok('tsvm wait brief'), '3\n');
  assert.match(await ok('tsvm ps -a --filter exited=3'), /Exited \(3\)/);
  assert.equal(await ok('tsvm wait brief'), '3\n');
  await ok('tsvm rm brief');
});

test('exec: streams, code, environment, and the container goes on', async () => {
  await ok('tsvm run -d --name host -e WHO=me box sleep 1000');
  assert.equal(
    await ok(`tsvm exec host sh -c 'echo $WHO; cat /proc/1/cmdline' | tr '\\0' ' '`),
    'me\nsleep 1000 ',
  );
  assert.equal(await ok('echo x | tsvm exec -i host cat'), 'x\n');
  assert.deepEqual(await sh(`tsvm exec host sh -c 'echo e >&2; exit 9'`), {
    stdout: '',
    stderr: 'e\n',
    code: 9,
  });
  assert.equal((await sh('tsvm exec host no-such-program')).code, 127);
  const lost = await sh('tsvm exec -w /no/such/folder host pwd');
  assert.notEqual(lost.code, 0);
  assert.notEqual(lost.stderr, '');
  await ok('tsvm exec -d host sh -c "echo made > /tmp/made"');
  await shell.until('tsvm exec host cat /tmp/made', /made/);
  const kernels = await Promise.all([
    ok('tsvm exec host uname -r'),
    ok('tsvm run --rm box uname -r'),
  ]);
  assert.equal(kernels[0], kernels[1]);
  // Outside of the container, its process is not the first.
  const pid = (await ok('tsvm exec --guest host pidof sleep')).trim();
  assert.match(pid, /^\d+$/);
  assert.notEqual(pid, '1');
  assert.match(await ok('tsvm ps'), /Up /);
  await ok('tsvm rm -f host');
});

test('run -it: a terminal, its size, Ctrl-C, Ctrl-P Ctrl-Q, attach', async (t) => {
  const first = shell.terminal(t, 'tsvm run -it --name tty box sh');
  await first.waitFor(/ #$/m, PATIENCE_MS);
  first.type('tty; stty size\r');
  await first.waitFor(/^\/dev\/(?:pts\/0|console)/m, PATIENCE_MS);
  first.type('echo started; sleep 1000\r');
  await first.waitFor(/^started/m, PATIENCE_MS);
  await shell.until('tsvm top tty', /sleep 1000$/m);
  first.type('\x03');
  await first.waitFor(/\^C[^$]* #$/m, PATIENCE_MS);
  first.type('echo code $?\r');
  await first.waitFor(/^code 130/m, PATIENCE_MS);
  first.type('\x10\x11');
  assert.equal(await first.end(PATIENCE_MS), 0);
  assert.match(await ok('tsvm ps'), /Up .*tty/);
  const second = shell.terminal(t, 'tsvm attach tty');
  // This shell draws no prompt of its own accord.
  second.type('\r');
  await second.waitFor(/ #$/m, PATIENCE_MS);
  second.type('exit 5\r');
  assert.equal(await second.end(PATIENCE_MS), 5);
  await ok('tsvm rm tty');
});

test('what is typed right before Ctrl-P Ctrl-Q arrives while the container prints', async (t) => {
  const read = `while :; do echo flood; done & while read line; do echo "$line" >> /typed; done`;
  await ok(`tsvm run -dit --name typed box sh -c '${read}'`);
  const pid = Number(await ok(`tsvm inspect -f '{{.State.Pid}}' typed`));
  for (const line of ['one', 'two', 'three']) {
    const typing = shell.terminal(t, 'tsvm attach typed');
    await typing.waitFor(/^flood/m, PATIENCE_MS);
    // Output waits for the supervisor, and the client leaves before it goes on.
    process.kill(pid, 'SIGSTOP');
    typing.type(`${line}\r\x10\x11`);
    await sleep(500);
    process.kill(pid, 'SIGCONT');
    assert.equal(await typing.end(PATIENCE_MS), 0);
    await shell.until('tsvm exec typed cat /typed', new RegExp(`^${line}$`, 'm'));
  }
  await ok('tsvm rm -f typed');
});

test('attach: two viewers see the same; kill -9 of a client leaves the container running', async () => {
  await ok(`tsvm run -d -i --name shared box sh -c 'while read line; do echo "got $line"; done'`);
  const viewer = sh('tsvm attach --no-stdin shared > viewed');
  // A viewer sees what comes after it is attached: the line is repeated until both have it.
  await sh(
    'mkfifo in; tsvm attach shared < in > seen & pid=$!; exec 3>in; ' +
      'until grep -qs one seen && grep -qs one viewed; do echo one >&3; sleep 0.1; done; kill -9 $pid',
  );
  assert.match(await ok('tsvm ps'), /Up .*shared/);
  await ok('tsvm kill shared');
  await viewer;
  assert.match(await ok('cat viewed'), /got one/);
  await ok('tsvm rm shared');
});

test('signals: SIGINT to run reaches the process once, kill -s, stop signal of the image', async () => {
  const trap = `trap 'echo int' INT; trap 'echo hup' HUP; trap 'echo usr1; exit 4' USR1; echo ready; while :; do sleep 0.1; done`;
  const shown = (word: string) => `until grep -qs ${word} out; do sleep 0.1; done`;
  const running = sh(
    `tsvm run --name signals --stop-signal USR1 box sh -c "${trap}" > out & pid=$!; ` +
      `${shown('ready')}; kill -INT $pid; ${shown('int')}; tsvm kill -s HUP signals; ` +
      `${shown('hup')}; tsvm stop signals; wait $pid; echo code $?; cat out`,
  );
  const { stdout } = await running;
  assert.equal(stdout, 'signals\nsignals\ncode 4\nready\nint\nhup\nusr1\n');
  await ok('tsvm rm signals');
});

test('names: taken, renamed, free again; the beginning of an ID is enough', async () => {
  const id = (await ok('tsvm create --name one box true')).trim();
  const taken = await sh('tsvm create --name one box true');
  assert.equal(taken.code, 1);
  assert.match(
    taken.stderr,
    /Conflict\. The container name "\/one" is already in use by container/,
  );
  await ok('tsvm rename one two');
  await ok('tsvm create --name one box true');
  assert.equal(await ok(`tsvm inspect -f '{{.Name}}' ${id.slice(0, 6)}`), '/two\n');
  assert.equal((await sh('tsvm create --name "no good" box true')).code, 1);
  await ok('tsvm rm one two');
  assert.deepEqual(readdirSync(join(shell.data, 'containers/names')), []);
});

test('rm by several commands at once: one has removed the container, and the others say so', async () => {
  for (let round = 0; round < 5; round++) {
    const id = (await ok('tsvm create --name gone box true')).trim();
    const all = await Promise.all(Array.from({ length: 4 }, () => sh('tsvm rm gone')));
    const told = all.map(({ stdout, stderr }) => stdout + stderr).sort();
    const missing = 'Error response from daemon: No such container: gone\n';
    assert.deepEqual(told, [missing, missing, missing, 'gone\n']);
    assert.deepEqual(all.map(({ code }) => code).sort(), [0, 1, 1, 1]);
    const events = await ok(
      `tsvm events --since 10m --until 0s -f container=${id} -f event=destroy`,
    );
    assert.equal(events.trim().split('\n').length, 1, events);
  }
});

test('pause and unpause', async () => {
  await ok(`tsvm run -d --name still box sh -c 'while :; do date +%s%N > /t; done'`);
  await shell.until('tsvm exec still cat /t', /\d/);
  await ok('tsvm pause still');
  assert.match(await ok('tsvm ps'), /\(Paused\)/);
  const refused = await sh('tsvm exec still true');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /is paused, unpause the container before exec/);
  await ok('tsvm unpause still');
  await ok('tsvm exec still true');
  await ok('tsvm rm -f still');
});

test('restart policies: on-failure counts, always until it is stopped', async () => {
  await ok(`tsvm run -d --name again --restart on-failure:2 box sh -c 'echo run; exit 1'`);
  await shell.until(`tsvm inspect -f '{{.State.Status}} {{.RestartCount}}' again`, /exited 2/);
  assert.equal(await ok('tsvm logs again'), 'run\nrun\nrun\n');
  await ok(`tsvm run -d --name ever --restart always box sh -c 'sleep 0.1'`);
  await shell.until(`tsvm inspect -f '{{.RestartCount}}' ever`, /[1-9]/);
  await ok('tsvm stop -t 0 ever');
  assert.match(await ok(`tsvm inspect -f '{{.State.Status}}' ever`), /exited/);
  await ok('tsvm rm again ever');
});

test('restart policies after a reboot: "system start-containers", which a systemd unit runs', async () => {
  await ok(`tsvm run -d --name always --restart always box sleep 1000`);
  await ok(`tsvm run -d --name stopped --restart unless-stopped box sleep 1000`);
  await ok(`tsvm run -d --name none box sleep 1000`);
  await ok('tsvm stop -t 0 stopped');
  // As a power failure would.
  await shell.killSupervisors('always', 'none');
  assert.equal(await ok('tsvm system start-containers'), 'always\n');
  assert.equal(await ok(`tsvm ps --format '{{.Names}}'`), 'always\n');
  assert.match(await ok('tsvm system install --print'), /ExecStart=\/.*\/bin\/tsvm system start-/);
  await ok('tsvm rm -f always stopped none');
});

test('kill -9 of the supervisor: the next command shows the end and the reason', async () => {
  await ok(`tsvm run -d --name gone box sleep 1000`);
  await shell.killSupervisors('gone');
  assert.match(await ok('tsvm ps -a'), /Exited \(137\)/);
  assert.match(await ok(`tsvm inspect -f '{{.State.Error}}' gone`), /was killed/);
  assert.deepEqual(shell.supervisors(), []);
  await ok('tsvm start gone');
  assert.match(await ok('tsvm ps'), /Up/);
  const removed = (await ok('tsvm run -d --rm box sleep 1000')).trim();
  await shell.killSupervisors(removed);
  assert.equal(await ok('tsvm ps -aq').then((ids) => ids.split('\n').length), 2);
  await ok('tsvm rm -f gone');
});

test('files outlive a stop: what a container has written is there at its next start', async () => {
  await ok(`tsvm run --name keeps box sh -c 'cat /kept 2>/dev/null; echo again >> /kept'`);
  assert.equal(await ok('tsvm start -a keeps'), 'again\n');
  assert.equal(await ok('tsvm start -a keeps'), 'again\nagain\n');
  await ok('tsvm rm keeps');
});

test('logs: streams, times, since, tail; long lines are whole', async () => {
  await ok(
    `tsvm run --name says box sh -c 'echo out; echo err >&2; sleep 0.1; head -c 70000 /dev/zero | tr "\\0" x; echo; printf end' >/dev/null 2>&1`,
  );
  const logs = await sh('tsvm logs says');
  assert.equal(logs.stderr, 'err\n');
  assert.equal(logs.stdout, `out\n${'x'.repeat(70_000)}\nend`);
  assert.match(await ok('tsvm logs -t says 2>/dev/null'), /^\d{4}-\d\d-\d\dT[\d:.]+Z out\n/);
  assert.equal(await ok('tsvm logs --tail 1 says'), 'end');
  assert.equal(await ok('tsvm logs --since 1s --until 1h says 2>&1'), '');
  const stored = readFileSync(
    join(shell.data, 'containers', (await ok('tsvm ps -alq --no-trunc')).trim(), 'container.log'),
    'utf8',
  );
  assert.equal(JSON.parse(stored.split('\n')[0] ?? '').log, 'out\n');
  await ok('tsvm rm says');
});

test('inspect, events, and images that containers need', async () => {
  const id = (await ok('tsvm create --name kept -l a=b -e X=1 --restart always entry')).trim();
  const [details] = JSON.parse(await ok('tsvm inspect kept'));
  assert.equal(details.Id, id);
  assert.equal(details.State.Status, 'created');
  assert.deepEqual(details.Config.Labels, { tier: 'back', a: 'b' });
  assert.equal(details.HostConfig.RestartPolicy.Name, 'always');
  assert.equal(details.Path, 'echo');
  assert.deepEqual(details.Args, ['entry', 'default']);
  const conflict = await sh('tsvm rmi entry');
  assert.equal(conflict.code, 1);
  assert.match(
    conflict.stderr,
    /unable to remove repository reference "entry:latest" \(must force\)/,
  );
  assert.match(
    await ok('tsvm events --since 1h --until 0s --filter container=kept'),
    new RegExp(`container create ${id} \\(a=b, image=entry, name=kept, tier=back\\)`),
  );
  await ok('tsvm rm kept');
});

test('run pulls a missing image, with progress on standard error', async (t) => {
  const { host } = await startRegistry(t);
  const name = `${host}/box:1`;
  await ok(`tsvm tag box ${name} && tsvm push -q ${name} && tsvm rmi ${name}`);
  const { code, stderr, stdout } = await sh(`tsvm run --rm ${name} echo pulled`);
  assert.deepEqual([code, stdout], [0, 'pulled\n']);
  assert.match(
    stderr,
    new RegExp(`^Unable to find image '${name}' locally\n1: Pulling from box\n`),
  );
  assert.match(stderr, /Pull complete|Already exists/);
  assert.match(stderr, new RegExp(`Status: Downloaded newer image for ${name}\n$`));
  const missing = await sh(`tsvm run --rm ${host}/nothing true`);
  assert.equal(missing.code, 125);
  assert.match(missing.stderr, /^Unable to find image '.*\/nothing:latest' locally\n/);
});

test('health checks: starting, healthy, unhealthy', async () => {
  await ok(
    'tsvm run -d --name health --health-cmd "cat /fine" --health-interval 200ms --health-retries 2 ' +
      `box sh -c 'sleep 0.5; touch /fine; sleep 1000'`,
  );
  const status = `tsvm inspect -f '{{.State.Health.Status}}' health`;
  await shell.until(status, /^healthy/);
  assert.match(await ok('tsvm ps --filter health=healthy'), /\(healthy\)/);
  await ok('tsvm exec health rm /fine');
  await shell.until(status, /^unhealthy/);
  const [details] = JSON.parse(await ok('tsvm inspect health'));
  assert.equal(details.State.Health.Log.at(-1).ExitCode, 1);
  assert.match(details.State.Health.Log.at(-1).Output, /No such file/);
  assert.match(
    await ok('tsvm events --since 1h --until 0s --filter event=health_status'),
    /health_status: healthy .*\n.*health_status: unhealthy/,
  );
  await ok('tsvm rm -f health');
});

test('stats, top, port and update of a running container', async () => {
  await ok('tsvm run -d --name busy -m 200m --pids-limit 50 box sleep 1000');
  assert.match(await ok('tsvm top busy'), /^UID +PID +PPID .*CMD\nroot +1 +0 .*sleep 1000\n$/);
  assert.match(await ok('tsvm top busy -o pid,args'), /^PID +COMMAND\n1 +sleep 1000\n$/);
  const line = await ok(`tsvm stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}}' busy`);
  assert.match(line, /^busy [\d.]+[KM]iB \/ 200MiB 1\n$/);
  assert.equal(await ok('tsvm port busy'), '');
  assert.equal(await ok('tsvm update --restart always -m 150m --pids-limit 20 busy'), 'busy\n');
  assert.match(await ok(`tsvm stats --no-stream --format '{{.MemUsage}}' busy`), /150MiB/);
  assert.equal(await ok(`tsvm inspect -f '{{.HostConfig.RestartPolicy.Name}}' busy`), 'always\n');
  await ok('tsvm rm -f busy');
});

test('options: user, groups, init, capabilities, read-only, limits, sysctls, host name, cidfile', async () => {
  const script =
    'id -u; id -G; hostname; ulimit -n; cat /proc/sys/net/core/somaxconn; touch /x || echo ro';
  const { stderr, stdout } = await sh(
    'tsvm run --rm --cidfile cid -u ann --group-add 50 -h named --ulimit nofile=77:88 ' +
      `--sysctl net.core.somaxconn=99 --read-only box sh -c '${script}'`,
  );
  assert.equal(stdout, '1000\n1001 50 63\nnamed\n77\n99\nro\n', stderr);
  assert.match(readFileSync(join(shell.folder, 'cid'), 'utf8'), /^[0-9a-f]{64}$/);
  const again = await sh('tsvm run --rm --cidfile cid box true');
  assert.equal(again.code, 125);
  assert.match(again.stderr, /container ID file found/);
  const caps = await ok(
    `tsvm run --rm --cap-drop ALL --cap-add NET_BIND_SERVICE box grep CapEff /proc/self/status`,
  );
  assert.equal(caps, 'CapEff:\t0000000000000400\n');
  assert.match(await ok('tsvm run --rm --init box ps'), /^PID .*\n +1 root .*init/);
  assert.match(
    (await sh('tsvm run --rm --device /dev/sda box true')).stderr,
    /--device is not supported: devices of the host/,
  );
});

test('ten containers at once', async () => {
  const lines = Array.from({ length: 10 }, (_, index) =>
    ok(`tsvm run --rm -m 128m box sh -c 'echo ${index}'`, { timeoutMs: 300_000 }),
  );
  assert.deepEqual(
    await Promise.all(lines),
    lines.map((_, index) => `${index}\n`),
  );
});

test('limits: nproc and free tell --cpus and -m', async () => {
  const out = await ok(`tsvm run --rm --cpus 1 -m 256m box sh -c 'nproc; free -m | grep Mem'`);
  const [cpus, memory = ''] = out.split('\n');
  assert.equal(cpus, '1');
  const total = Number(memory.split(/ +/)[1]);
  assert.ok(total >= 240 && total <= 310, memory);
});
