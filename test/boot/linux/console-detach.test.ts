/** A console that is left while the guest prints. Not on emulated hosts: KVM has no part in it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BOOT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, rootDisk } from '../../support/linux-guest.ts';
import { runningMachinesOf } from '../../support/running-machines.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { TSVM } from '../../support/tsvm-process.ts';

test('what is typed right before detaching arrives while the guest prints', async (context) => {
  const { run, env } = runningMachinesOf(context);
  const disk = await rootDisk(context);
  assert.equal((await run(`boot --detach --name web --disk ${disk}`)).stdout, 'web\n');
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const attach = () =>
    new TerminalSession(context, `${set.join(' ')} ${TSVM} console --replay 0 web; echo "code $?"`);
  const first = attach();
  first.type('\r');
  await first.waitFor(/# $/m, BOOT_TIMEOUT_MS);
  first.type('while :; do echo flood; done &\r');
  await first.waitFor(/^flood/m, COMMAND_TIMEOUT_MS);
  first.type('\x01d');
  await first.waitFor(/code 0/, COMMAND_TIMEOUT_MS);

  const { pid } = JSON.parse((await run('status --format json web')).stdout);
  for (const word of ['one', 'two', 'three']) {
    const typing = attach();
    await typing.waitFor(/^flood/m, COMMAND_TIMEOUT_MS);
    // Output waits for the machine's process, and the client leaves before it goes on.
    process.kill(pid, 'SIGSTOP');
    typing.type(`typed=$typed-${word}\r\x01d`);
    await sleep(500);
    process.kill(pid, 'SIGCONT');
    await typing.waitFor(/code 0/, COMMAND_TIMEOUT_MS);
  }
  const last = attach();
  last.type('kill $!; echo "typed$typed."\r');
  await last.waitFor(/^typed-one-two-three\.$/m, COMMAND_TIMEOUT_MS);
});
