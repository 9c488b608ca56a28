/** The same command lines by tsvm and by podman with runc: output and exit codes are equal. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SYSTEM_CALLS } from '../../vmm/container/seccomp/system-calls.ts';
import { ContainerShell } from '../support/container-shell.ts';
import { PODMAN_CONFIG } from '../support/podman-config.ts';

/** `$E` is the engine. */
const LINES = [
  `$E run --rm box sh -c 'echo out; echo err >&2; exit 3'`,
  '$E run --rm box no-such-program 2>/dev/null',
  '$E run --rm box /no/such/program 2>/dev/null',
  '$E run --rm box /etc 2>/dev/null',
  '$E run --rm box /etc/passwd 2>/dev/null',
  'B=host $E run --rm -e A=1 -e B -e C= box env | grep "^[ABC]=" | sort',
  '$E run --rm -w /home/ann box pwd',
  '$E run --rm -u ann box id',
  // podman adds users of the command line to /etc/passwd, and makes no working directory.
  '$E run --rm -u 5:6 box sh -c "id -u; id -G"',
  '$E run --rm -u ann:staff --group-add audio box id',
  '$E run --rm -u nobody-there box true 2>/dev/null',
  '$E run --rm entry',
  '$E run --rm entry other words',
  `$E run --rm --entrypoint sh entry -c 'echo $COLOUR; pwd; id -un; echo $HOME'`,
  '$E run --rm --entrypoint "" entry echo no entry point',
  '$E run --rm -h named box hostname',
  '$E run --rm --read-only box touch /x 2>/dev/null',
  '$E run --rm --tmpfs /t:size=1m box sh -c "touch /t/x; ls /t"',
  'seq 1 50000 | $E run --rm -i box md5sum',
  'echo unread | $E run --rm box cat',
  '$E run --rm box sh -c "seq 1 100000" | md5sum',
  `$E run --rm --stop-signal KILL box sh -c 'echo $$'`,
  `$E create --name made box sh -c 'echo started; exit 6' >/dev/null; $E start -a made; echo $?; $E wait made; $E rm made >/dev/null`,
  '$E run -d --name live box sleep 1000 >/dev/null; $E exec live sh -c "echo in; exit 9"; echo $?; ' +
    '$E exec live no-such-program 2>/dev/null; echo $?; $E exec live /etc 2>/dev/null; echo $?; ' +
    'echo x | $E exec -i live cat; $E exec -u ann -w /tmp -e V=1 live sh -c "id -un; pwd; echo \\$V"; ' +
    '$E kill live >/dev/null; $E wait live; $E rm live >/dev/null',
  '$E run -d --name term box sh -c "trap \'exit 8\' TERM; touch /set; while :; do sleep 0.1; done" >/dev/null; ' +
    'until $E exec term ls /set >/dev/null 2>&1; do sleep 0.1; done; $E stop term >/dev/null; $E wait term; $E rm term >/dev/null',
  // Profiles of system calls: renice calls setpriority with the number, which is negative in two of these.
  ...['errno', 'default-deny', 'caps'].map(
    (name) =>
      `$E run --rm --cap-add SYS_NICE --security-opt seccomp=${name}.json box sh -c ` +
      `'for n in -7 -1 1 2 3 4 5 6 7 8 9 12 15; do renice $n $$ 2>&1 && echo set $n; done; ` +
      `chmod 700 /tmp 2>&1; mkdir /made 2>&1; hostname new 2>&1'`,
  ),
];

const priority = (op: string, value: number | string, errnoRet: number, valueTwo = 0) => ({
  names: ['setpriority', 'no_such_call'],
  action: 'SCMP_ACT_ERRNO',
  errnoRet,
  args: [{ index: 2, op, value, valueTwo }],
});
const PROFILES = {
  errno: {
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [
      priority('SCMP_CMP_EQ', 5, 13),
      priority('SCMP_CMP_MASKED_EQ', 0xff03, 22, 1),
      { names: ['chmod'], action: 'SCMP_ACT_ERRNO' },
      { names: ['mkdir'], action: 'SCMP_ACT_ERRNO', errnoRet: 30 },
    ],
  },
  'default-deny': {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 5,
    syscalls: [
      {
        names: [...SYSTEM_CALLS.keys()].filter((name) => !['setpriority', 'chmod'].includes(name)),
        action: 'SCMP_ACT_ALLOW',
      },
      {
        names: ['setpriority'],
        action: 'SCMP_ACT_ALLOW',
        args: [
          { index: 2, op: 'SCMP_CMP_LE', value: 3 },
          { index: 2, op: 'SCMP_CMP_GT', value: 8 },
        ],
      },
    ],
  },
  caps: {
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [
      { ...priority('SCMP_CMP_GE', 7, 13), includes: { caps: ['CAP_SYS_NICE'] } },
      { ...priority('SCMP_CMP_LT', 3, 22), excludes: { caps: ['CAP_CHOWN'] } },
      { names: ['chmod'], action: 'SCMP_ACT_ERRNO', includes: { arches: ['arm64'] } },
      { names: ['mkdir'], action: 'SCMP_ACT_ERRNO', includes: { minKernel: '3.0' } },
    ],
  },
};

const shell = new ContainerShell();
const members = { Entrypoint: ['echo', 'entry'], Cmd: ['default'], Env: ['COLOUR=blue'] };

before(() => {
  shell.addImage('box');
  shell.addImage('entry', { ...members, WorkingDir: '/srv/app', User: 'ann' });
  for (const [name, profile] of Object.entries(PROFILES)) {
    writeFileSync(join(shell.folder, `${name}.json`), JSON.stringify(profile));
  }
  const config = join(shell.folder, 'containers.conf');
  writeFileSync(config, PODMAN_CONFIG);
  const own = `CONTAINERS_CONF=${config} exec podman --root ${shell.folder}/podman --runroot ${shell.folder}/podman-run`;
  // On a busy host podman's run --rm, which finds its container removed already, ends with 127.
  const withoutRm = `[ "$1 $2" != "run --rm" ] || { shift 2; ${own} run "$@"; }`;
  writeFileSync(join(shell.folder, 'bin/oracle'), `#!/bin/sh\n${withoutRm}\n${own} "$@"\n`, {
    mode: 0o755,
  });
  for (const name of ['box', 'entry']) {
    execFileSync(
      'sh',
      ['-c', `tsvm save -o ${name}.tar ${name} && oracle load -q -i ${name}.tar`],
      {
        env: shell.env,
        cwd: shell.folder,
        stdio: 'ignore',
      },
    );
  }
});
after(async () => {
  // Its storage has mounts.
  spawnSync('oracle', ['rm', '-fa'], { env: shell.env, stdio: 'ignore' });
  spawnSync('oracle', ['rmi', '-fa'], { env: shell.env, stdio: 'ignore' });
  spawnSync('umount', [join(shell.folder, 'podman/overlay')], { stdio: 'ignore' });
  await shell.close();
});

for (const line of LINES) {
  test(line, async () => {
    const [ours, theirs] = await Promise.all(
      ['tsvm', 'oracle'].map((engine) => shell.sh(`E=${engine}; ${line}`, { timeoutMs: 240_000 })),
    );
    assert.deepEqual(ours, theirs);
  });
}
