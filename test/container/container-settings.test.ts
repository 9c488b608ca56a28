/** Settings of containers, some of them changed while they run, as their programs see them. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { ContainerShell } from '../support/container-shell.ts';

const shell = new ContainerShell();
const ok = shell.ok.bind(shell);
const sh = shell.sh.bind(shell);

before(() => shell.addImage('box'));
after(() => shell.close());
afterEach(() => sh('tsvm rm -f $(tsvm ps -aq)'));

test('ps --format: {{.Label "NAME"}} in lists and tables', async () => {
  await ok('tsvm create --name one -l tier=back -l org.example.made-by=us box');
  const format = (template: string) => ok(`tsvm ps -a --format '${template}'`);
  assert.equal(await format('{{.Names}} {{.Label "tier"}} <{{.Label "no"}}>'), 'one back <>\n');
  assert.equal(
    await format('table {{.Names}}\\t{{.Label "org.example.made-by"}}'),
    'NAMES     made by\none       us\n',
  );
  assert.equal(await format('{{if .Label "tier"}}yes{{end}}'), 'yes\n');
  assert.equal(JSON.parse(await format('json')).Label, undefined);
  const wrong = await sh(`tsvm ps -a --format '{{.Names "x"}}'`);
  assert.notEqual(wrong.code, 0);
  assert.match(wrong.stderr, /can't give argument to non-function/);
});

test('top: columns by the options of ps', async () => {
  await ok('tsvm run -d --name busy -u 7 box sleep 1000');
  const lines = async (options: string) =>
    (await ok(`tsvm top busy ${options}`)).trimEnd().split('\n');
  assert.match(
    (await lines('')).join('\n'),
    /^UID +PID +PPID +C +STIME +TTY +TIME +CMD\n\S+ +1 +0 +\S+ +\d\d:\d\d +\? +00:00:\d\d +sleep 1000$/,
  );
  assert.match(
    (await lines('aux'))[0] ?? '',
    /^USER +PID +%CPU +VSZ +RSS +TTY +STAT +START +TIME +COM/,
  );
  assert.deepEqual(await lines('-eo pid=ID,comm,uid'), ['ID   COMMAND   UID', '1    sleep     7']);
  assert.deepEqual(await lines('-o pid -o args'), ['PID   COMMAND', '1     sleep 1000']);
  assert.deepEqual(await lines('axo pid'), ['PID', '1']);
  assert.deepEqual(await lines('pid user'), ['PID   USER', '1     7']);
  assert.match((await lines('-o etime'))[1] ?? '', /^\d\d:\d\d$/);
  const wrong = await sh('tsvm top busy -o nothing');
  assert.match(wrong.stderr, /unknown column nothing: there are args, /);
});

test('tmpfs: size, mode, owner and flags', async () => {
  const options = 'size=2m,mode=0710,uid=5,gid=6,exec';
  assert.equal(
    await ok(
      `tsvm run --rm --tmpfs /t:${options} box sh -c 'stat -c "%a %u %g" /t; df -k /t | tail -n 1 | tr -s " " | cut -d" " -f2; grep " /t " /proc/mounts'`,
    ).then((text) => text.replace(/,inode64/, '')),
    '710 5 6\n2048\ntmpfs /t tmpfs rw,nosuid,nodev,relatime,size=2048k,mode=710,uid=5,gid=6 0 0\n',
  );
  const wrong = await sh('tsvm run --rm --tmpfs /t:uid=ann box true');
  assert.equal(wrong.code, 125);
  assert.match(wrong.stderr, /tmpfs option "uid=ann": give the number of a user or group/);
});

test('tmpfs: a size in percent of the memory, and a number of files', async () => {
  const [percent, memory, inodes] = (
    await ok(
      `tsvm run --rm -m 256m --tmpfs /p:size=25% --tmpfs /n:nr_inodes=1k,nr_blocks=8 box sh -c '` +
        `df -k /p | tail -n 1 | tr -s " " | cut -d" " -f2; grep MemTotal /proc/meminfo | tr -dc 0-9; echo; ` +
        `df -i /n | tail -n 1 | tr -s " " | cut -d" " -f2; df -k /n | tail -n 1 | tr -s " " | cut -d" " -f2'`,
    )
  ).split('\n');
  const share = Number(percent) / Number(memory);
  assert.ok(share > 0.24 && share < 0.26, `${percent} KiB of ${memory}`);
  assert.equal(inodes, '1024');
  for (const [option, why] of [
    ['size=0%', /give 1% to 100% of the memory/],
    ['size=101%', /give 1% to 100% of the memory/],
    ['nr_inodes=many', /give a number/],
    ['mpol=bind', /it is not supported/],
  ] as const) {
    const { code, stderr } = await sh(`tsvm run --rm --tmpfs /t:${option} box true`);
    assert.equal(code, 125);
    assert.match(stderr, why);
  }
});

test('--security-opt seccomp=FILE: what is wrong with a profile is said', async () => {
  const wrong = async (text: string) => {
    writeFileSync(join(shell.folder, 'wrong.json'), text);
    const { code, stderr } = await sh('tsvm run --rm --security-opt seccomp=wrong.json box true');
    assert.equal(code, 125);
    return stderr;
  };
  assert.match(await wrong('{'), /Decoding seccomp profile failed: .*JSON/);
  assert.match(
    await wrong('{"defaultAction": "ALLOW"}'),
    /defaultAction "ALLOW": there are SCMP_ACT_/,
  );
  const rule = '"names": ["chmod"], "action": "SCMP_ACT_ERRNO"';
  const profile = (more: string) =>
    `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{${rule}, ${more}}]}`;
  assert.match(
    await wrong(profile('"args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]')),
    /the argument 6: give 0 to 5/,
  );
  assert.match(
    await wrong(
      profile('"args": [{"index": 1, "value": 18446744073709551616, "op": "SCMP_CMP_EQ"}]'),
    ),
    /18446744073709551616 is no number of 64 bits/,
  );
  const missing = await sh('tsvm run --rm --security-opt seccomp=none.json box true');
  assert.match(missing.stderr, /opening seccomp profile \(none.json\) failed/);
});

test('update acts on a running container: memory, processes, CPUs and restart policy', async () => {
  await ok('tsvm run -d --name live -m 200m box sleep 1000');
  const group = 'tsvm exec live cat /sys/fs/cgroup';
  await ok('tsvm update -m 100m --pids-limit 20 --cpus 0.5 live');
  assert.equal(await ok(`${group}/memory.max`), `${100 * 2 ** 20}\n`);
  assert.equal(await ok(`${group}/pids.max`), '20\n');
  assert.equal(await ok(`${group}/cpu.max`), '50000 100000\n');
  const tooMany = await sh(
    `tsvm exec live sh -c 'for i in $(seq 30); do sleep 5 & done' 2>&1 | grep -c -i "can't fork"`,
  );
  assert.match(tooMany.stdout, /^[1-9]/);
  await ok('tsvm update --restart on-failure:1 live && tsvm exec live kill -9 1; true');
  await ok('tsvm kill -s KILL live; true');
  assert.equal(
    await ok(`tsvm inspect -f '{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Memory}}' live`),
    `on-failure ${100 * 2 ** 20}\n`,
  );
});

test('update --restart of a running container counts at its next end', async () => {
  await ok(`tsvm run -d --name again box sh -c 'until [ -e /go ]; do sleep 0.1; done; exit 3'`);
  await ok('tsvm update --restart on-failure:1 again');
  // The container may end before the exec has.
  await sh('tsvm exec again touch /go');
  await shell.until(`tsvm inspect -f '{{.State.Status}} {{.RestartCount}}' again`, /exited 1/);
});

test('commit: no process runs while the container is read, unless --pause=false', async () => {
  // The two files have as many lines, except between two writes.
  const line = 'while :; do echo line >> /one; echo line >> /two; done';
  await ok(`tsvm run -d --name writer box sh -c '${line}'`);
  await shell.until('tsvm exec writer cat /two', /line/);
  await ok('tsvm commit writer first');
  const counts = (await ok(`tsvm run --rm first sh -c 'wc -l < /one; wc -l < /two'`))
    .trim()
    .split('\n')
    .map(Number);
  const [one = 0, two = 0] = counts;
  assert.ok(one - two === 0 || one - two === 1, `${one} and ${two}`);
  // It goes on afterwards.
  const lines = async () => Number(await ok(`tsvm exec writer sh -c 'wc -l < /one'`));
  const then = await lines();
  const endMs = performance.now() + 60_000;
  while ((await lines()) === then) assert.ok(performance.now() < endMs, 'still frozen');
  await ok('tsvm commit --pause=false writer second');
});

test('a create that fails leaves no anonymous volume', async () => {
  await ok('tsvm create --name taken box');
  for (const flags of ['--name taken', '--network nowhere', '-v /nowhere/at/all:/x:nope']) {
    assert.notEqual((await sh(`tsvm create -v /data ${flags} box`)).code, 0, flags);
    assert.equal(await ok('tsvm volume ls -q'), '', flags);
  }
  assert.notEqual(
    (await sh(`tsvm create -v /data --mount type=bind,src=/no/such,dst=/x box`)).code,
    0,
  );
  assert.equal(await ok('tsvm volume ls -q'), '');
});
