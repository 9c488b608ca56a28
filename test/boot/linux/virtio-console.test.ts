/** The default guest with a virtio console, and a port of it on a socket. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { BOOT_TIMEOUT_MS, COMMAND_TIMEOUT_MS } from '../../support/linux-guest.ts';
import { runningMachinesOf } from '../../support/running-machines.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { TSVM, temporaryFolder } from '../../support/tsvm-process.ts';

/** Resolves with all that a socket has sent once `pattern` is in it. */
async function until(socket: Socket, pattern: RegExp): Promise<string> {
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (pattern.test(text)) return text;
  }
  throw new Error(`the socket has closed after ${JSON.stringify(text)}`);
}

test('hvc0 is the console, knows the size of each window, and a port is a socket', async (context) => {
  const { run, env } = runningMachinesOf(context);
  const path = join(temporaryFolder(context), 'agent.sock');
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const boot = `${TSVM} boot --name web --console virtio --port agent=${path}`;
  const session = new TerminalSession(
    context,
    `stty rows 33 cols 111; ${set.join(' ')} ${boot}; echo "exit code $?"`,
  );
  await session.waitFor(/built-in commands/, BOOT_TIMEOUT_MS);
  const command = async (text: string, pattern: RegExp) => {
    session.type(`${text}\r`);
    await session.waitFor(pattern, COMMAND_TIMEOUT_MS);
  };
  await command('tty; stty size', /^\/dev\/hvc0\n33 111$/m);
  await command('cat /sys/class/virtio-ports/*/name', /^agent$/m);

  const port = '/dev/$(basename $(dirname $(grep -l agent /sys/class/virtio-ports/*/name)))';
  await command(
    // A port without a client reads as an end of file.
    `while :; do read -r line && echo "got $line" || sleep 0.1; done <>${port} >&0 & echo star""ted`,
    /^started$/m,
  );
  const client = connect(path).setEncoding('utf8');
  client.write('one\ntwo\n');
  assert.match(await until(client, /two\n/), /^got one\ngot two\n$/);
  // One client at a time; the next one comes after it.
  const second = connect(path).on('error', () => {});
  assert.equal((await second.toArray()).length, 0);
  const closed = once(client, 'close');
  client.destroy();
  await closed;
  // The machine may learn later than this process that the first one has gone.
  for (let said = ''; said === ''; ) {
    const third = connect(path).setEncoding('utf8');
    third.on('error', () => {}).write('three\n');
    said = await until(third, /got three\n/).catch(() => '');
    third.destroy();
  }

  const other = new TerminalSession(
    context,
    `stty rows 44 cols 99; ${set.join(' ')} ${TSVM} console --force web`,
  );
  await other.waitFor(/Ctrl-A d detaches/, COMMAND_TIMEOUT_MS);
  other.type('stty size\r');
  await other.waitFor(/^44 99$/m, COMMAND_TIMEOUT_MS);
  other.type('poweroff\r');
  await session.waitFor(/exit code 0/, COMMAND_TIMEOUT_MS);
  assert.equal(existsSync(path), false);
  assert.equal((await run('list --quiet')).stdout, '');
});
