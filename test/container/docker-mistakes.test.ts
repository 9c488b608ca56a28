/** What Docker's client refuses, `create` refuses in its words; and it takes what Docker takes. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerShell } from '../support/container-shell.ts';
import { clientVersion, VERSION_MIN } from '../support/docker-client.ts';

const shell = new ContainerShell();

const IMAGE = {
  Env: ['COLOUR=blue', 'PATH=/bin'],
  Entrypoint: ['echo'],
  Cmd: ['default'],
  WorkingDir: '/srv',
  User: 'ann',
  StopSignal: 'SIGINT',
};
const FILES = {
  'spaces.env': 'A B=1\n',
  'nameless.env': '=1\n',
  'good.env': '\ufeff# comment\r\n\r\n  A=1\r\nB="q" # no comment\nC=\nHOST\nNOT_SET\nD=a=b\n',
};

before(() => {
  shell.addImage('box');
  shell.addImage('full', IMAGE);
  for (const [name, content] of Object.entries(FILES)) {
    writeFileSync(join(shell.folder, name), content);
  }
});
after(() => shell.close());

const REFUSED = [
  ...[
    `-e '=x'`,
    `-e ''`,
    '--env-file none.env',
    '--env-file spaces.env',
    '--env-file nameless.env',
  ],
  ...['--label-file none.env', '--label-file spaces.env', `-l ''`, '-l =x', `-l 'a b=1'`],
  ...[
    '-m 1g1',
    '-m x',
    `-m ''`,
    '-m -1',
    '-m 1x',
    '-m 1mbb',
    `-m ' 1m'`,
    '-m .',
    '--memory-swap x',
  ],
  ...['--shm-size x', '--shm-size -1', '--memory-swappiness x', '--kernel-memory x'],
  ...['--cpus x', `--cpus ''`, '--cpus 1/0', '--cpu-shares x', '--cpu-quota x', '--pids-limit 1.5'],
  ...['--ulimit nofile', '--ulimit nope=1', '--ulimit nofile=x', '--ulimit nofile=1:2:3'],
  ...[`--ulimit 'nofile= 1'`, '--ulimit nofile=10:5', '--ulimit nofile=-1:5'],
  ...['--sysctl net.ipv4.ip_forward', `--sysctl ''`, '--sysctl =x', '--oom-score-adj x'],
  ...['--restart on-failure:x', '--restart on-failure:1:2', '--restart :', '--rm --restart always'],
  ...[
    '--health-interval 5',
    '--health-interval 1x',
    '--health-interval abc',
    `--health-interval ''`,
  ],
  ...['--health-interval 1h-3s', '--health-interval -5s', '--health-timeout -1s'],
  ...['--health-start-period -1s', '--health-start-interval -1s', '--health-retries x'],
  ...[
    '--health-retries -1',
    '--health-cmd x --no-healthcheck',
    '--no-healthcheck --health-retries 2',
  ],
  ...['--mac-address x', '--add-host x', '--add-host x:y', '--add-host :1.2.3.4', '--dns x'],
  ...[
    `--dns-search 'a b'`,
    `--network ''`,
    '--network none --network-alias x',
    '-p x',
    '-p 1:2:3:4',
  ],
  ...['-p 70000', '-p 1-3:1-2', '--expose x', '--expose 70000', '--expose 5-3', '-p 80/icmp'],
  ...['-v :/b', '-v ""', '--mount type=bind', '--mount dst=/b,foo', '-a foo'],
  ...['--stop-timeout x', '--pull maybe', '--storage-opt size', '--security-opt seccomp=none.json'],
  ...['--init=maybe', '--no-healthcheck=x', '--nope', '-Z', '--name'],
];

/** Without a container or engine, what is wrong with the words themselves is all there is to say. */
const REFUSED_LINES = [
  ...[
    'ps -n x',
    'ps --filter bad',
    'ps extra',
    'ps -z',
    'logs',
    'logs a b',
    'stop',
    'stop -t x none',
  ],
  ...['restart', 'restart -t x none', 'kill', 'rm', 'exec', 'exec none', `exec -e '' none sh`],
  ...['exec --env-file none.env none sh', 'exec -w', 'attach', 'start', 'start --nope', 'wait'],
  ...['inspect', 'top', 'port', 'port a b c', 'rename', 'rename a', 'commit', 'commit a b c'],
  ...['export', 'diff', 'pause', 'unpause', 'update', 'update -m x none', 'events --filter bad'],
  ...['volume rm', 'volume inspect', 'volume ls -f bad', 'network create', 'network rm'],
  ...['network connect a', 'container prune -x', 'images -f bad', 'rmi', 'tag', 'tag a', 'history'],
  ...["ps --format '{{.Nope}}'", "ps --format 'table {{.Nope}}'", "ps -a --format '{{'"],
  ...[
    'run -d -a stdout box',
    'run -d --attach stdin -i box true',
    'container run -d -a stderr box',
  ],
  ...['container foo', 'network foo', 'system foo x', 'volume foo'],
  ...['save', 'load extra', 'import', 'pull', 'pull a b', 'push', 'run', 'run --rm', 'run --name'],
];

test('lines that Docker’s client refuses have its message and exit code', async (t) => {
  if (clientVersion() < VERSION_MIN) {
    t.skip(`needs Docker's client of version ${VERSION_MIN}`);
    return;
  }
  for (const line of REFUSED_LINES) {
    const [ours, theirs] = await Promise.all([
      shell.sh(`tsvm ${line}`),
      shell.sh(`docker -H unix://none.sock ${line}`),
    ]);
    assert.doesNotMatch(theirs.stderr, /Cannot connect/, line);
    const stderr = theirs.stderr.replaceAll('docker', 'tsvm');
    assert.deepEqual(ours, { ...theirs, stderr }, line);
  }
});

test('a command that is none is refused with Docker’s message; its help is that of all', async (t) => {
  const unknown = await shell.sh('tsvm nothing at all');
  assert.deepEqual(unknown, {
    stdout: '',
    stderr: `tsvm: unknown command: tsvm nothing\n\nRun 'tsvm --help' for more information\n`,
    code: 2,
  });
  for (const line of ['nothing --help', '--help', 'help']) {
    const { code, stdout } = await shell.sh(`tsvm ${line}`);
    assert.equal(code, 0, line);
    assert.match(stdout, /^Usage: tsvm /, line);
  }
  if (clientVersion() < VERSION_MIN) {
    t.skip(`needs Docker's client of version ${VERSION_MIN}`);
    return;
  }
  const { stderr } = await shell.sh('docker nothing at all');
  assert.equal(unknown.stderr, stderr.replaceAll('docker', 'tsvm'));
});

test('options of create that Docker’s client refuses have its message and exit code', async (t) => {
  if (clientVersion() < VERSION_MIN) {
    t.skip(`needs Docker's client of version ${VERSION_MIN}`);
    return;
  }
  for (const options of REFUSED) {
    // Without an engine, the client's own checks are all there is.
    const [ours, theirs] = await Promise.all([
      shell.sh(`tsvm create ${options} box`),
      shell.sh(`docker -H unix://none.sock create ${options} box`),
    ]);
    assert.doesNotMatch(theirs.stderr, /Cannot connect/, options);
    const stderr = theirs.stderr.replaceAll('docker', 'tsvm');
    assert.deepEqual(ours, { ...theirs, stderr }, options);
  }
  assert.equal(await shell.ok('tsvm ps -aq'), '');
});

test('what Docker’s engine refuses: 1 by create, 125 by run, and no image is pulled before', async () => {
  for (const [options, message] of [
    ['-m 5m', 'Minimum memory limit allowed is 6MB'],
    ['--restart foo', 'invalid restart policy: unknown policy'],
    ['--restart always:3', 'invalid restart policy: maximum retry count can only be used with'],
    ['--restart on-failure:-1', 'invalid restart policy: maximum retry count cannot be negative'],
    ['--cpus -1', 'Range of CPUs is from 0.01 to '],
    ['--cpus 1 --cpu-quota 5000', 'Conflicting options: Nano CPUs and CPU Quota'],
    ['-w relative', "the working directory 'relative' is invalid"],
    ['--stop-signal FOO', 'Invalid signal: FOO'],
    ['--cap-add FLY', 'invalid CapAdd: unknown capability: "CAP_FLY"'],
    ['--cap-drop fly', 'invalid CapDrop: unknown capability: "CAP_FLY"'],
    ['--oom-score-adj 2000', 'Invalid value 2000, range for oom score adj is [-1000, 1000]'],
    [`--name 'a b'`, 'Invalid container name (a b)'],
    ['-v a:/', "invalid volume specification: 'a:/'"],
    ['--tmpfs relative', 'invalid mount config for type "tmpfs": invalid mount path'],
  ] as const) {
    const text = `Error response from daemon: ${message}`;
    const created = await shell.sh(`tsvm create ${options} no-such-image`);
    assert.equal(created.code, 1, options);
    assert.ok(created.stderr.startsWith(text), created.stderr);
    const run = await shell.sh(`tsvm run ${options} no-such-image`);
    assert.equal(run.code, 125, options);
    assert.ok(run.stderr.startsWith(`tsvm: ${text}`), run.stderr);
    assert.match(run.stderr, /\n\nRun 'tsvm run --help' for more information\n$/);
  }
  assert.equal(await shell.ok('tsvm ps -aq'), '');
});

test('create ends with 1 for names that are none, and for an image that cannot be had', async () => {
  assert.deepEqual(await shell.sh(`tsvm create 'box:'`), {
    stdout: '',
    stderr: 'invalid reference format\n',
    code: 1,
  });
  assert.equal((await shell.sh('tsvm create --pull never no-such-image')).code, 1);
  const pulled = await shell.sh('tsvm create 127.0.0.1:1/no-such-image');
  assert.equal(pulled.code, 1);
  assert.match(pulled.stderr, /^Unable to find image .*\n.*ECONNREFUSED/);
  assert.doesNotMatch(pulled.stderr, /\n\s+at /);
});

test('values that are empty, or written otherwise, mean what they mean to Docker', async () => {
  for (const [options, template, value] of [
    [`-w ''`, '{{.Config.WorkingDir}}', '/srv'],
    [`-u ''`, '{{.Config.User}}', 'ann'],
    [`--stop-signal ''`, '{{.Config.StopSignal}}', 'SIGINT'],
    ['-it=true', '{{.Config.OpenStdin}} {{.Config.Tty}}', 'true true'],
    ['-it=false', '{{.Config.OpenStdin}} {{.Config.Tty}}', 'true false'],
    ['--rm=0 --tty=f', '{{.HostConfig.AutoRemove}} {{.Config.Tty}}', 'false false'],
    [`--restart ''`, '{{.HostConfig.RestartPolicy.Name}}', 'no'],
    ['--restart on-failure:', '{{.HostConfig.RestartPolicy.Name}}', 'on-failure'],
    ['--cpus 1/2', '{{.HostConfig.NanoCpus}}', '500000000'],
    ['--cpu-quota 50000', '{{.HostConfig.NanoCpus}}', '500000000'],
    ['--cpu-period 200000 --cpu-quota 50000', '{{.HostConfig.NanoCpus}}', '250000000'],
    ['-m 0', '{{.HostConfig.Memory}}', '0'],
    ['-m 1.5g', '{{.HostConfig.Memory}}', '1610612736'],
    [`-m '64 MiB'`, '{{.HostConfig.Memory}}', '67108864'],
    ['--shm-size 0', '{{.HostConfig.ShmSize}}', '67108864'],
    ['--entrypoint cat', '{{.Config.Entrypoint}} {{.Config.Cmd}}', '[cat] []'],
    ['--ipc private --userns host --uts ""', '{{.State.Status}}', 'created'],
    ['--annotation a=b --cgroupns private', '{{.State.Status}}', 'created'],
  ] as const) {
    const id = (await shell.ok(`tsvm create ${options} full`)).trim();
    assert.equal(await shell.ok(`tsvm inspect -f '${template}' ${id}`), `${value}\n`, options);
    assert.equal(await shell.ok(`tsvm rm ${id}`), `${id}\n`);
  }
  assert.match(await shell.ok(`tsvm create --name '' box`), /^[0-9a-f]{64}\n$/);
  const mac = '--mac-address 02-42-AC-11-00-02';
  const shown = await shell.ok(`tsvm run --rm ${mac} box cat /sys/class/net/eth0/address`);
  assert.equal(shown, '02:42:ac:11:00:02\n');
});

test('variables of files and of the command line', async () => {
  const env = async (options: string) => {
    const output = await shell.ok(`tsvm run --rm ${options} --entrypoint env full`, {
      env: { HOST: 'h', EMPTY: '' },
    });
    return output
      .split('\n')
      .filter((line) => /^[A-Z]+=/.test(line) && !line.startsWith('HOSTNAME'));
  };
  const usual = ['COLOUR=blue', 'HOME=/home/ann', 'PATH=/bin'];
  assert.deepEqual((await env('--env-file good.env -e D=d -e EMPTY')).sort(), [
    ...[
      'A=1',
      'B="q" # no comment',
      'C=',
      'COLOUR=blue',
      'D=d',
      'EMPTY=',
      'HOME=/home/ann',
      'HOST=h',
    ],
    'PATH=/bin',
  ]);
  assert.deepEqual((await env('-e NOTSET')).sort(), usual);
  // A name that this process does not have takes the image's away.
  assert.deepEqual((await env('-e COLOUR')).sort(), usual.slice(1));
  // Node, which runs tsvm, has an option of the same name.
  const missing = await shell.sh('tsvm run --rm box echo --env-file none.env');
  assert.deepEqual(missing, { stdout: '--env-file none.env\n', stderr: '', code: 0 });
});
