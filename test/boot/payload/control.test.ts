/** Machines in the background, and the commands that control them. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMachineAlive } from '../../../vmm/api/machines/machine-folder.ts';
import { runningMachinesOf } from '../../support/running-machines.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { PAYLOAD, TSVM } from '../../support/tsvm-process.ts';
import { until } from '../../support/until.ts';

const TIMEOUT_MS = 120_000;
/** A guest that waits for a line and echoes it. */
const WAITING = 'tests=serial-echo';
/** A guest that prints numbered lines without end. */
const FLOOD = 'tests=serial-flood count=100000000';

interface Listed {
  readonly Name: string;
  readonly State: string;
  readonly PID: number;
}

const parse = (stdout: string) =>
  stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Listed);

test('a machine in the background is listed, paused, resumed, and killed', async (context) => {
  const { run, bootPayload, folder, logFolder } = runningMachinesOf(context);
  assert.deepEqual(await run('list'), {
    stdout: 'NAME      STATUS    CPUS      MEMORY    PID\n',
    stderr: '',
    code: 0,
  });
  assert.deepEqual(await bootPayload('web', FLOOD, '--memory 64M'), {
    stdout: 'web\n',
    stderr: '',
    code: 0,
  });
  const [listed] = parse((await run('list --format json')).stdout);
  assert.ok(listed);
  assert.equal(listed.Name, 'web');
  assert.equal(listed.State, 'running');
  process.kill(listed.PID, 0);
  assert.match((await run('list')).stdout, /^web +Up .* 1 +64 MiB +\d+$/m);

  assert.deepEqual(await run('pause web'), { stdout: 'web\n', stderr: '', code: 0 });
  assert.match((await run('list')).stdout, /^web +Up .*\(paused\)/m);
  const again = await run('pause web');
  assert.equal(again.code, 1);
  assert.match(again.stderr, /^tsvm: a paused machine cannot be paused\n$/);
  const status = JSON.parse((await run('status --format json web')).stdout);
  assert.equal(status.state, 'paused');
  assert.equal(status.logPath, join(logFolder, 'web.log'));
  assert.match((await run('status web')).stdout, /^State: +paused$/m);
  assert.equal((await run('resume web')).code, 0);

  assert.deepEqual(await run('kill web'), { stdout: 'web\n', stderr: '', code: 0 });
  assert.equal((await run('list --quiet')).stdout, '');
  assert.deepEqual(readdirSync(folder), []);
  assert.match(
    readFileSync(join(logFolder, 'web.log'), 'utf8'),
    /^tsvm: the machine was ended by "tsvm kill"/m,
  );
  const gone = await run('status web');
  assert.equal(gone.code, 1);
  assert.match(gone.stderr, /no machine web is running/);
});

test('failures of a machine in the background are reported, with its exit code', async (context) => {
  const { run, bootPayload, logFolder } = runningMachinesOf(context);
  const missing = await run('boot --detach --name web --kernel /nonexistent');
  assert.equal(missing.code, 125);
  assert.match(missing.stderr, /\/nonexistent/);
  const disk = await bootPayload('web', WAITING, '--disk /nonexistent');
  assert.equal(disk.code, 125);
  assert.match(disk.stderr, /\/nonexistent/);
  for (const args of ['--name ../x', '--console tty', '--console stdio', '--name a --cpus 99']) {
    assert.equal((await run(`boot --detach ${args}`)).code, 2, args);
  }
  assert.equal((await run('list --quiet')).stdout, '');
  assert.deepEqual(readdirSync(logFolder), []);

  assert.equal((await bootPayload('web', WAITING)).code, 0);
  const second = await bootPayload('web', WAITING);
  assert.equal(second.code, 125);
  assert.match(second.stderr, /a running machine has the name web/);
  assert.equal((await run('list --quiet')).stdout, 'web\n');
});

test('a machine in the foreground is listed too, by its process ID unless it has a name', async (context) => {
  const { run, env } = runningMachinesOf(context);
  const start = async (...args: string[]): Promise<ChildProcess> => {
    const child = spawn(
      TSVM,
      ['boot', '--kernel', PAYLOAD, '--acpi', 'off', '--append', WAITING, ...args],
      { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'inherit'] },
    );
    context.after(() => child.kill('SIGKILL'));
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    return child;
  };
  const [first, second] = [await start(), await start('--name', 'own')];
  const names = (await run('list --quiet')).stdout.split('\n');
  assert.deepEqual(names, ['own', `vm-${first.pid}`, '']);
  const ended = [once(first, 'exit'), once(second, 'exit')];
  assert.equal((await run('kill own')).code, 0);
  assert.equal((await run(`kill vm-${first.pid}`)).code, 0);
  // As by Ctrl-A x.
  for (const [code] of await Promise.all(ended)) assert.equal(code, 128 + 15);
});

test('a machine whose process was killed is gone, and the next command removes its files', async (context) => {
  const { run, bootPayload, folder } = runningMachinesOf(context);
  await bootPayload('web', WAITING);
  const [listed] = parse((await run('list --format json')).stdout);
  process.kill(listed?.PID ?? 0, 'SIGKILL');
  assert.ok(existsSync(join(folder, 'web', 'control.sock')));
  // The kernel takes a moment to end the process; the lock is what it gives up last.
  await until('its files are removed', async () => {
    assert.equal((await run('status web')).code, 1);
    return readdirSync(folder).length === 0;
  });
  assert.equal((await bootPayload('web', WAITING)).code, 0);
});

test('a boot removes the files of other machines whose processes were killed', async (context) => {
  const { run, bootPayload, folder } = runningMachinesOf(context);
  await bootPayload('web', WAITING);
  const [listed] = parse((await run('list --format json')).stdout);
  process.kill(listed?.PID ?? 0, 'SIGKILL');
  // The kernel takes a moment to end the process.
  await until('the process has ended', () => !isMachineAlive(join(folder, 'web')));
  assert.equal((await bootPayload('next', WAITING)).code, 0);
  assert.deepEqual(readdirSync(folder), ['next']);
});

test('a machine that does not answer is listed as such, and can be killed', async (context) => {
  const { run, bootPayload } = runningMachinesOf(context);
  await bootPayload('web', WAITING);
  const [listed] = parse((await run('list --format json')).stdout);
  const pid = listed?.PID ?? 0;
  process.kill(pid, 'SIGSTOP');
  context.after(() => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {}
  });
  assert.match((await run('list')).stdout, /^web +Does not answer/m);
  assert.equal((await run('kill web')).code, 0);
  assert.equal((await run('list --quiet')).stdout, '');
});

test('a guest without a power button is reported, and killed only by force', async (context) => {
  const { run, bootPayload } = runningMachinesOf(context);
  await bootPayload('web', WAITING);
  const refused = await run('stop web');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /no power button/);
  assert.equal((await run('stop --force web')).code, 0);
  assert.equal((await run('list --quiet')).stdout, '');
});

test('a guest that ignores its power button is killed after the time-out, by force', async (context) => {
  const { run } = runningMachinesOf(context);
  const boot = `boot -d --name web --kernel ${PAYLOAD} --append ${WAITING}`;
  assert.equal((await run(boot)).code, 0);
  const refused = await run('stop --timeout 1 web');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /has not shut down in 1 s.*--force/);
  assert.equal((await run('stop --timeout 0 --force web')).code, 0);
});

test('a console gets all output of a guest, and sends it input from a pipe', async (context) => {
  const { run, bootPayload } = runningMachinesOf(context);
  await bootPayload('web', WAITING);
  const first = await run('console web', { input: 'by pipe\n' });
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /^payload: hello/m);
  assert.match(first.stdout, /echo: by pipe/);
  assert.match(first.stdout, /^done passed=1 failed=0/m);
});

test('a console attaches, detaches and attaches again; the terminal is as it was each time', async (context) => {
  const { bootPayload, env, run } = runningMachinesOf(context);
  await bootPayload('web', WAITING);
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const attach = `${set.join(' ')} ${TSVM} console web`;
  const session = new TerminalSession(
    context,
    `stty -g; ${attach}; echo "code $?"; stty -g; ${attach}; echo "code $?"; stty -g`,
  );
  await session.waitFor(/echo:/, TIMEOUT_MS);
  session.type('\x01h');
  await session.waitFor(/Ctrl-A d\s+detach/, TIMEOUT_MS);
  session.type('typed \x01d');
  await session.waitFor(/code 0/, TIMEOUT_MS);
  assert.equal((await run('list --quiet')).stdout, 'web\n');
  await session.waitFor(/attached.*\n(.*\n)*.*attached/, TIMEOUT_MS);
  session.type('later\r');
  await session.waitFor(/echo: typed later/, TIMEOUT_MS);
  await session.end(TIMEOUT_MS);
  const settings = session.screen().match(/(?<=^ *)[0-9a-f:]{30,}$/gm);
  assert.equal(settings?.length, 3, session.screen());
  assert.equal(new Set(settings).size, 1, session.screen());
  assert.equal(session.screen().match(/^code 0$/gm)?.length, 2);
});

test('a second console is read-only unless it takes the input; Ctrl-A x of the writer ends the machine', async (context) => {
  const { bootPayload, env, run } = runningMachinesOf(context);
  await bootPayload('web', WAITING);
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const attach = (flags: string) =>
    new TerminalSession(context, `${set.join(' ')} ${TSVM} console ${flags} web; echo "code $?"`);
  const first = attach('');
  await first.waitFor(/echo:/, TIMEOUT_MS);
  const second = attach('');
  await second.waitFor(/another console has the input/, TIMEOUT_MS);
  second.type('no\x01x');
  const third = attach('--force');
  await first.waitFor(/another console has taken the input/, TIMEOUT_MS);
  await third.waitFor(/echo:/, TIMEOUT_MS);
  assert.match((await run('status web')).stdout, /3 attached, input: attached/);
  third.type('\x01x');
  for (const session of [first, second, third]) await session.waitFor(/code 0/, TIMEOUT_MS);
  assert.equal((await run('list --quiet')).stdout, '');
});

test('a console that is killed leaves the terminal as it was, and the machine alone', async (context) => {
  const { bootPayload, env, run } = runningMachinesOf(context);
  await bootPayload('web', WAITING);
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  for (const signal of ['TERM', 'HUP', 'KILL']) {
    const session = new TerminalSession(
      context,
      // What restores it after a SIGKILL is another process.
      `before=$(stty -g); echo "$before"
       sh -c 'echo "pid $$"; export ${set.join(' ')}; exec ${TSVM} console web'
       for i in $(seq 600); do [ "$(stty -g)" = "$before" ] && break; sleep 0.1; done; stty -g`,
    );
    await session.waitFor(/echo:/, TIMEOUT_MS);
    const [, pid] = await session.waitFor(/pid (\d+)/, TIMEOUT_MS);
    process.kill(Number(pid), `SIG${signal}`);
    await session.end(TIMEOUT_MS);
    const settings = session.screen().match(/(?<=^ *)[0-9a-f:]{30,}$/gm);
    assert.equal(settings?.length, 2, session.screen());
    assert.equal(settings[0], settings[1], signal);
  }
  assert.equal((await run('list --quiet')).stdout, 'web\n');
});

test('a runtime folder that cannot be used matters only to machines that need it', async (context) => {
  const { run, env } = runningMachinesOf(context);
  const blocked = `${env['TSVM_RUNTIME_FOLDER']}/file`;
  writeFileSync(blocked, '');
  const options = { env: { TSVM_RUNTIME_FOLDER: `${blocked}/x` } };
  const boot = `boot --kernel ${PAYLOAD} --acpi off --append tests=cpuid`;
  const unnamed = await run(boot, options);
  assert.equal(unnamed.code, 0, unnamed.stderr);
  assert.equal(unnamed.stderr, '');
  const named = await run(`${boot} --name web`, options);
  assert.equal(named.code, 125);
  assert.match(named.stderr, /cannot be created/);
  mkdirSync(`${env['TSVM_RUNTIME_FOLDER']}/machines`, { recursive: true, mode: 0o777 });
});

test('status, limits and the image of a disk, and the cable of a network, while it runs', async (context) => {
  const { run, bootPayload, folder } = runningMachinesOf(context);
  const files = join(folder, '..');
  for (const name of ['a.img', 'b.img', 'c.img'])
    writeFileSync(join(files, name), name.repeat(2048));
  await run('image create -q -f qcow2 d.qcow2 4M', { through: ['env', '-C', files] });
  const disks = `--disk ${files}/a.img,bps=5M --disk ${files}/c.img,ro`;
  assert.equal(
    (
      await bootPayload(
        'web',
        WAITING,
        `${disks} --net user,mac=52:54:00:00:00:07 --sandbox on,files=${files}`,
      )
    ).code,
    0,
  );
  const lines = async () =>
    (await run('status web')).stdout.split('\n').filter((line) => /^(disk|net)\d/.test(line));
  assert.deepEqual(await lines(), [
    `disk0:        ${files}/a.img bps=5242880`,
    `disk1:        ${files}/c.img (read-only)`,
    'net0:         user 52:54:00:00:00:07',
  ]);

  const done = (stdout: string) => ({ stdout, stderr: '', code: 0 });
  assert.deepEqual(await run('limit web disk0 iops=100 iops_max=7'), done('disk0\n'));
  assert.deepEqual(await run('limit web net0 bps=1M'), done('net0\n'));
  assert.deepEqual(await run('link web net0 down'), done('net0\n'));
  assert.deepEqual(
    await run('swap-disk web disk0 b.img', { through: ['env', '-C', files] }),
    done('disk0\n'),
  );
  const changed = [
    `disk0:        ${files}/b.img iops=100 iops_max=7`,
    `disk1:        ${files}/c.img (read-only)`,
    'net0:         user 52:54:00:00:00:07 (link down) bps=1048576',
  ];
  assert.deepEqual(await lines(), changed);

  for (const [args, code, message] of [
    [`swap-disk web disk0 ${files}/c.img`, 1, /c\.img is the file of disk1/],
    [`swap-disk web disk0 ${files}/missing.img`, 1, /missing\.img/],
    [`swap-disk web disk0 ${files}/b.img`, 1, /b\.img is in use/],
    [`swap-disk web disk0 ${files}/a.img,ro`, 2, /read-only/],
    [`swap-disk web disk2 ${files}/a.img`, 1, /no disk disk2 \(it has: disk0, disk1\)/],
    [`disk add web ${files}/c.img`, 1, /cannot be added or removed .*--transport pci and ACPI/],
    ['disk remove web disk0', 1, /--transport pci and ACPI/],
    ['net add web user', 1, /--transport pci and ACPI/],
    ['net add web none', 2, /Use user or tap=NAME/],
    ['disk remove --timeout 1h web disk0', 2, /seconds, from 0 to 3600/],
    ['limit web net1 pps=1', 1, /no network net1 \(it has: net0\)/],
    ['limit web disk0 pps=1', 2, /bps=, bps_max=, iops=, iops_max=, or none/],
    ['limit web disk0 bps=0', 2, /bps=0/],
    ['limit web disk0 bps_max=1', 1, /bytesPerSecond/],
    ['limit web sda bps=1', 2, /disk0/],
    ['link web net0 off', 2, /up or down/],
  ] as const) {
    const refused = await run(args);
    assert.equal(refused.code, code, args + refused.stderr);
    assert.match(refused.stderr, message);
  }
  assert.deepEqual(await lines(), changed, 'what is refused changes nothing');

  assert.deepEqual(await run('limit web disk0 none'), done('disk0\n'));
  assert.deepEqual(await run('pause web'), done('web\n'));
  assert.deepEqual(await run(`swap-disk web disk0 ${files}/d.qcow2`), done('disk0\n'));
  assert.deepEqual(await run('link web net0 up'), done('net0\n'));
  assert.deepEqual(await run('resume web'), done('web\n'));
  assert.deepEqual((await lines()).slice(0, 1), [`disk0:        ${files}/d.qcow2`]);
});

test('tsvm memory shows and sets what a guest is to have, within what the machine was booted with', async (context) => {
  const { run, bootPayload } = runningMachinesOf(context);
  const MIB = 2 ** 20;
  assert.equal((await bootPayload('web', WAITING, '--memory 64M,max=192M')).code, 0);
  const memory = async (size: string) =>
    JSON.parse((await run(`memory web ${size} --format json`)).stdout);
  const limits = { minBytes: 64 * MIB, maxBytes: 192 * MIB };
  // The payload has no driver for it.
  const state = (mib: number) => ({ ...limits, targetBytes: mib * MIB, actualBytes: 64 * MIB });
  assert.deepEqual(await memory('100M'), state(100));
  assert.deepEqual(await memory('max'), state(192));
  assert.deepEqual(await memory('min'), state(64));
  for (const size of ['62M', '65M', '194M']) {
    const { code, stderr } = await run(`memory web ${size}`);
    assert.deepEqual([code, /of memory: give/.test(stderr)], [1, true], stderr);
  }
  assert.match((await run('memory web')).stdout, /^Now: +64 MiB\nWanted: +64 MiB\n/);
  assert.match((await run('status web')).stdout, /^Memory: +64 MiB of at most 192 MiB$/m);
  assert.equal((await bootPayload('fixed', WAITING)).code, 0);
  const { code, stderr } = await run('memory fixed');
  assert.deepEqual([code, /--memory SIZE,max=SIZE/.test(stderr)], [1, true], stderr);
});
