/** The default guest in the background: its console, and its power button. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import {
  BOOT_TIMEOUT_MS,
  COMMAND_TIMEOUT_MS,
  defaultGuest,
  rootDisk,
} from '../../support/linux-guest.ts';
import { runningMachinesOf } from '../../support/running-machines.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { TSVM } from '../../support/tsvm-process.ts';

test('a console attaches, detaches and attaches again; stop shuts the guest down in order', async (context) => {
  const { run, env } = runningMachinesOf(context);
  const disk = await rootDisk(context);
  const boot = `boot --detach --name web --kernel ${defaultGuest().kernelPath} --disk ${disk}`;
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
