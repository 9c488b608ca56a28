/** Processes in a running container: who they are, what they may do, their streams and signals. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import type { ProcessSpec } from '../../vmm/container/agent/agent.ts';
import { packageRoot } from '../../vmm/util/package-root.ts';
import { type AgentGuest, bootAgentGuest, busyboxMembers } from '../support/agent-guest.ts';
import { compileGuestProgram } from '../support/initrd.ts';

const PROBE_SOURCE = join(packageRoot(), 'test/support/guest-programs/vsock_probe.c');
const SIGTERM = 15;
const SIGKILL = 9;

describe('processes of a container', () => {
  let guest: AgentGuest;
  const releases: (() => unknown)[] = [];

  before(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
    releases.push(() => rmSync(folder, { recursive: true }));
    const probe = join(folder, 'probe');
    compileGuestProgram(probe, [PROBE_SOURCE]);
    const members = busyboxMembers([
      { name: 'etc/plain', data: 'text' },
      { name: 'bin/probe', mode: 0o755, data: readFileSync(probe) },
      { name: 'bin/broken', data: 'no program', mode: 0o755 },
      { name: 'bin/orphan', data: '#!/no/interpreter\n', mode: 0o755 },
    ]);
    guest = await bootAgentGuest(
      { after: (fn: () => unknown) => releases.push(fn) } as unknown as TestContext,
      {
        members,
      },
    );
    await guest.agent.assemble({ ...guest.root, hostname: 'web', domainname: 'example' });
    const first = await guest.agent.startProcess({ args: ['sleep', '1000'], env: ['PATH=/bin'] });
    first.stdout.resume();
    first.stderr?.resume();
  });

  after(async () => {
    for (const release of releases.reverse()) await release();
  });

  const stdoutOf = async (script: string, spec?: Partial<ProcessSpec>): Promise<string> => {
    const result = await guest.run(['sh', '-c', script], spec);
    equal(result.stderr, '');
    deepEqual(result.end, { exitCode: 0 });
    return result.stdout.trim();
  };
  const statusOf = async (spec: Partial<ProcessSpec>): Promise<Map<string, string>> => {
    const text = await stdoutOf('cat /proc/self/status', spec);
    return new Map(text.split('\n').map((line) => line.split(':\t', 2) as [string, string]));
  };

  test('exec sees the first process as PID 1, and its host name', async () => {
    equal(await stdoutOf('cat /proc/1/comm; hostname; cat /etc/hostname'), 'sleep\nweb\nweb');
    equal(await stdoutOf('cat /proc/sys/kernel/domainname'), 'example');
    match(await stdoutOf('ps -o pid,comm'), /^ +1 sleep$/m);
  });

  test('users and groups are those of the image', async () => {
    equal(await stdoutOf('id -u; id -g; id -G; echo $HOME'), '0\n0\n0 50\n/root');
    const ann = '1000\n1001\n1001 50 63\n/home/ann';
    equal(await stdoutOf('id -u; id -g; id -G; echo $HOME', { user: 'ann' }), ann);
    equal(await stdoutOf('id -u; id -g; id -G; echo $HOME', { user: '1000' }), ann);
    equal(await stdoutOf('id -u; id -g; id -G', { user: 'ann:staff' }), '1000\n50\n50');
    equal(await stdoutOf('id -u; id -g; echo $HOME', { user: '4242:77' }), '4242\n77\n/');
    equal(await stdoutOf('id -G', { user: '4242', groupAdd: ['audio', '99'] }), '0 63 99');
    equal(await stdoutOf('echo $HOME', { env: ['PATH=/bin', 'HOME=/x'] }), '/x');
    await rejects(guest.run(['id'], { user: 'bob' }), {
      code: 'no-such-user',
      message: 'unable to find user bob: no matching entries in passwd file',
    });
    await rejects(guest.run(['id'], { user: 'ann:crew' }), { code: 'no-such-group' });
  });

  test('programs that cannot run are told apart', async () => {
    const failure = (args: string[]) => guest.run(args);
    await rejects(failure(['nothing']), {
      code: 'program-not-found',
      message: 'exec: "nothing": executable file not found in $PATH',
    });
    await rejects(failure(['/no/thing']), {
      code: 'program-not-found',
      message: 'exec: "/no/thing": stat /no/thing: no such file or directory',
    });
    await rejects(failure(['/bin/orphan']), { code: 'program-not-found' });
    await rejects(failure(['/etc/plain']), {
      code: 'program-not-executable',
      message: 'exec: "/etc/plain": permission denied',
    });
    await rejects(failure(['/etc']), {
      code: 'program-not-executable',
      message: 'exec: "/etc": is a directory',
    });
    await rejects(failure(['broken']), {
      code: 'program-not-executable',
      message: 'exec /bin/broken: exec format error',
    });
    await rejects(guest.run(['pwd'], { cwd: '/missing' }), { code: 'no-working-directory' });
  });

  test('working directory, environment, resource limits and OOM score are as asked', async () => {
    equal(await stdoutOf('pwd', { cwd: '/home' }), '/home');
    equal(await stdoutOf('echo "$A"', { env: ['PATH=/bin', 'A=b c=d'] }), 'b c=d');
    const resourceLimits = [
      { name: 'nofile', soft: 100, hard: 200 },
      { name: 'core', soft: 0, hard: -1 },
    ];
    const limits = await stdoutOf('cat /proc/self/limits', { resourceLimits });
    match(limits, /Max open files +100 +200/);
    match(limits, /Max core file size +0 +unlimited/);
    equal(await stdoutOf('cat /proc/self/oom_score_adj', { oomScoreAdjust: -500 }), '-500');
    await rejects(guest.run(['true'], { resourceLimits: [{ name: 'x', soft: 1, hard: 1 }] }), {
      code: 'invalid-request',
    });
  });

  test('capabilities are Docker’s, with additions and without what is dropped', async () => {
    const usual = await statusOf({});
    for (const set of ['CapPrm', 'CapEff', 'CapBnd']) equal(usual.get(set), '00000000a80425fb');
    for (const set of ['CapInh', 'CapAmb']) equal(usual.get(set), '0000000000000000');
    equal(usual.get('NoNewPrivs'), '0');
    equal(usual.get('Seccomp'), '2');
    const ann = await statusOf({ user: 'ann', noNewPrivileges: true });
    equal(ann.get('CapEff'), '0000000000000000');
    equal(ann.get('CapBnd'), '00000000a80425fb');
    equal(ann.get('NoNewPrivs'), '1');
    const more = await statusOf({ capAdd: ['sys_time', 'CAP_NET_ADMIN'], capDrop: ['chown'] });
    equal(more.get('CapEff'), '00000000aa0435fa');
    const none = await statusOf({ capDrop: ['ALL'], seccomp: 'unconfined' });
    equal(none.get('CapBnd'), '0000000000000000');
    equal(none.get('Seccomp'), '0');
    const privileged = await statusOf({ privileged: true });
    equal(privileged.get('CapEff'), '000001ffffffffff');
    equal(privileged.get('Seccomp'), '0');
    await rejects(guest.run(['true'], { capAdd: ['fly'] }), {
      message: 'invalid CapAdd: unknown capability: "CAP_FLY"',
    });
  });

  test('the seccomp profile refuses what Docker’s does', async () => {
    const refused = await guest.run(['unshare', '-m', 'true']);
    match(refused.stderr, /Operation not permitted/);
    // With the capability but without the call's permission: chroot is allowed, mount is not.
    equal(await stdoutOf('chroot / echo in'), 'in');
    const mount = await guest.run(['mount', '-t', 'tmpfs', 'x', '/tmp']);
    match(mount.stderr, /denied|not permitted/i);
    const allowed = await guest.run(['unshare', '-m', 'true'], { capAdd: ['SYS_ADMIN'] });
    deepEqual(allowed.end, { exitCode: 0 });
  });

  test('/proc, /sys and /dev are laid out as Docker does', async () => {
    equal(
      await stdoutOf('ls /dev'),
      'core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero',
    );
    equal(await stdoutOf('cat /proc/keys | wc -c; ls /sys/firmware | wc -l'), '0\n0');
    const mounts = await stdoutOf('cat /proc/self/mounts');
    match(mounts, /^overlay \/ overlay rw,/m);
    match(mounts, /^proc \/proc proc rw,nosuid,nodev,noexec,relatime 0 0$/m);
    match(mounts, /^sysfs \/sys sysfs ro,nosuid,nodev,noexec/m);
    match(mounts, /^cgroup2 \/sys\/fs\/cgroup cgroup2 ro,nosuid,nodev,noexec/m);
    match(mounts, /^shm \/dev\/shm tmpfs rw,nosuid,nodev,noexec.*size=65536k/m);
    match(mounts, /^mqueue \/dev\/mqueue mqueue rw,nosuid,nodev,noexec/m);
    match(mounts, /^devpts \/dev\/pts devpts rw,nosuid,noexec.*gid=5,mode=620,ptmxmode=666/m);
    const readOnly = await guest.run(['sh', '-c', 'echo 1 > /proc/sys/kernel/panic']);
    match(readOnly.stderr, /Read-only file system/);
    equal(await stdoutOf('cat /proc/sys/net/ipv4/ip_unprivileged_port_start'), '0');
    equal(await stdoutOf('cat /proc/self/cgroup'), '0::/');
  });

  test('a process has its three streams and no signal blocked or ignored', async () => {
    // The fourth is the listing's own.
    equal(await stdoutOf('ls /proc/self/fd | wc -l'), '4');
    // Without a shell, which would ignore some signals.
    const { stdout } = await guest.run(['cat', '/proc/self/status']);
    match(stdout, /^SigBlk:\t0{16}\nSigIgn:\t0{16}$/m);
  });

  test('a container reaches neither the agent nor the host by vsock', async () => {
    const probe = ['/bin/probe'];
    const refused = 'not permitted';
    equal(
      (await guest.run(probe)).stdout,
      `host: ${refused}\nlocal: ${refused}\nown: ${refused}\n`,
    );
    equal(
      (await guest.run(probe, { privileged: true })).stdout,
      'host: no connection\nlocal: no connection\nown: no connection\n',
    );
  });

  test('input of any length arrives, and output of any length comes back', async () => {
    const text = randomBytes(3 * 2 ** 20).toString('base64');
    const result = await guest.run(['cat'], {}, text);
    ok(result.stdout === text);
    const sum = await guest.run(['wc', '-c'], {}, text);
    equal(sum.stdout.trim(), String(text.length));
    // Processes that end without reading their input.
    for (let i = 0; i < 10; i++) {
      const { stdout, end } = await guest.run(['echo', 'done'], {}, text);
      deepEqual([stdout, end], ['done\n', { exitCode: 0 }]);
    }
  });

  test('a hundred short processes lose no byte and no exit code', async () => {
    const one = async (index: number) => {
      const { stdout, stderr, end } = await guest.run([
        'sh',
        '-c',
        `echo o${index}; echo e${index} >&2; exit ${index}`,
      ]);
      deepEqual([stdout, stderr, end], [`o${index}\n`, `e${index}\n`, { exitCode: index }]);
    };
    for (let round = 0; round < 25; round++) {
      await Promise.all([0, 1, 2, 3].map((index) => one(4 * round + index)));
    }
  });

  test('signals reach a process that does not read its input', async () => {
    const script = 'trap "echo caught; exit 3" TERM; echo ready; while :; do sleep 0.1; done';
    const process = await guest.agent.startProcess({
      args: ['sh', '-c', script],
      env: ['PATH=/bin'],
      stdin: true,
    });
    process.stdin?.write(Buffer.alloc(2 ** 20));
    process.stderr?.resume();
    let output = '';
    for await (const chunk of process.stdout) {
      output += chunk;
      if (output === 'ready\n') await guest.agent.signal(process, SIGTERM);
    }
    equal(output, 'ready\ncaught\n');
    deepEqual(await process.ended, { exitCode: 3 });
    const sleeper = await guest.agent.startProcess({ args: ['sleep', '9'], env: ['PATH=/bin'] });
    await guest.agent.signal(sleeper, SIGKILL);
    deepEqual(await sleeper.ended, { signal: SIGKILL });
    await rejects(
      guest.agent.signal(sleeper, 99).then(() => guest.agent.signal(sleeper, 0)),
      {
        code: 'invalid-request',
      },
    ).catch(() => {}); // a process that has ended takes every signal
  });

  test('a process ends although a child of it holds its output', async () => {
    const process = await guest.agent.startProcess({
      args: ['sh', '-c', 'echo before; sleep 1000 &'],
      env: ['PATH=/bin'],
    });
    deepEqual(await process.ended, { exitCode: 0 });
    equal(process.stdout.read().toString(), 'before\n');
    process.stdout.destroy();
  });

  test('a terminal is one: size, resize, interrupt, end of input', async () => {
    const process = await guest.agent.startProcess({
      args: ['sh'],
      env: ['PATH=/bin', 'PS1=> ', 'TERM=xterm'],
      terminal: { columns: 91, rows: 27 },
      stdin: true,
    });
    equal(process.stderr, undefined);
    let screen = '';
    process.stdout.on('data', (bytes: Buffer) => {
      screen += bytes.toString();
    });
    const shows = async (what: RegExp) => {
      while (!what.test(screen)) await new Promise((resolve) => setTimeout(resolve, 10));
      screen = '';
    };
    await shows(/> /);
    process.stdin?.write('tty; stty size\r');
    await shows(/\/dev\/pts\/\d+\r\n27 91\r\n/);
    await guest.agent.resize(process, { columns: 40, rows: 10 });
    process.stdin?.write('stty size\r');
    await shows(/10 40\r\n/);
    process.stdin?.write('sleep 1234\r');
    await shows(/sleep/);
    const sleeps = async () =>
      (await guest.agent.processes()).some(({ args }) => args[1] === '1234');
    while (!(await sleeps())) await new Promise((resolve) => setTimeout(resolve, 10));
    process.stdin?.write('\x03');
    await shows(/\^C/);
    process.stdin?.write('echo $((6*7))\r');
    await shows(/42/);
    process.stdin?.write('\x04');
    deepEqual(await process.ended, { exitCode: 0 });
  });

  test('exec in the guest sees the guest’s processes and devices', async () => {
    const spec = { scope: 'guest' } as const;
    equal(await stdoutOf('cat /proc/1/comm', spec), 'init');
    match(await stdoutOf('ls /dev', spec), /^vda$/m);
    equal(await stdoutOf('id -u', spec), '0');
    equal((await statusOf(spec)).get('CapEff'), '000001ffffffffff');
  });
});
