/** The default guest in the background: its console, and its power button. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BOOT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, rootDisk } from '../../support/linux-guest.ts';
import { runningMachinesOf } from '../../support/running-machines.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { TSVM } from '../../support/tsvm-process.ts';

test('a console attaches, detaches and attaches again; stop shuts the guest down in order', async (context) => {
  const { run, env } = runningMachinesOf(context);
  const disk = await rootDisk(context);
  const boot = `boot --detach --name web --disk ${disk}`;
  assert.equal((await run(boot)).stdout, 'web\n');
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const attach = () =>
    new TerminalSession(context, `${set.join(' ')} ${TSVM} console web; echo "code $?"`);

  const first = attach();
  await first.waitFor(/built-in commands/, BOOT_TIMEOUT_MS);
  first.type('state=kept\r\x01d');
  await first.waitFor(/code 0/, COMMAND_TIMEOUT_MS);

  const second = attach();
  await second.waitFor(/state=kept/, COMMAND_TIMEOUT_MS);
  second.type('echo "it is $state"; echo written > /root/file\r');
  await second.waitFor(/^it is kept$/m, COMMAND_TIMEOUT_MS);

  const stopped = await run(`stop --timeout ${COMMAND_TIMEOUT_MS / 1000} web`, {
    timeoutMs: COMMAND_TIMEOUT_MS + 10_000,
  });
  assert.deepEqual(stopped, { stdout: 'web\n', stderr: '', code: 0 });
  await second.waitFor(/reboot: Power down/, COMMAND_TIMEOUT_MS);
  await second.waitFor(/code 0/, COMMAND_TIMEOUT_MS);
  const check = spawnSync('e2fsck', ['-f', '-n', disk], { encoding: 'utf8' });
  assert.equal(check.status, 0, check.stdout + check.stderr);
});

test('a disk gets another image and a network loses its link while Linux runs; both outlast a reboot', async (context) => {
  // Emulated hosts have none.
  if (spawnSync('passt', ['--version']).error) return context.skip('there is no passt');
  const { run, env, folder } = runningMachinesOf(context);
  const root = await rootDisk(context);
  const files = join(folder, '..');
  writeFileSync(join(files, 'a.img'), 'first'.padEnd(2 ** 20, '.'));
  writeFileSync(join(files, 'b.img'), 'other'.padEnd(2 ** 21, '.'));
  const boot = `boot --detach --name web --disk ${root}`;
  const devices = `--disk ${files}/a.img --net user --on-reboot restart`;
  assert.equal((await run(`${boot} ${devices}`)).stdout, 'web\n');
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const guest = new TerminalSession(context, `${set.join(' ')} ${TSVM} console web`);
  const look =
    'echo "it: $(head -c 5 /dev/vdb) $(cat /sys/block/vdb/size) $(cat /sys/class/net/eth0/carrier)"\r';
  await guest.waitFor(/built-in commands/, BOOT_TIMEOUT_MS);
  guest.type('ip link set eth0 up\r');
  guest.type(look);
  await guest.waitFor(/^it: first 2048 1$/m, COMMAND_TIMEOUT_MS);
  guest.type('printf written > /dev/vdb; sync\r');
  guest.type('echo done-$((1+1))\r');
  await guest.waitFor(/^done-2$/m, COMMAND_TIMEOUT_MS);

  assert.equal((await run(`swap-disk web disk1 ${files}/b.img`)).code, 0);
  assert.equal((await run('link web net0 down')).code, 0);
  await guest.waitFor(/new size: 4096 512-byte logical blocks/, COMMAND_TIMEOUT_MS);
  guest.type('echo 3 > /proc/sys/vm/drop_caches\r');
  guest.type(look);
  await guest.waitFor(/^it: other 4096 0$/m, COMMAND_TIMEOUT_MS);
  assert.match(readFileSync(join(files, 'a.img'), 'utf8'), /^written\.\.\./);

  guest.type('reboot\r');
  await guest.waitFor(/built-in commands.*built-in commands/s, BOOT_TIMEOUT_MS);
  guest.type('ip link set eth0 up\r');
  guest.type(look.replace('it:', 'again:'));
  await guest.waitFor(/^again: other 4096 0$/m, COMMAND_TIMEOUT_MS);
});
