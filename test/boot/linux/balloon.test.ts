/** Memory that goes from the default guest to the host and back, measured at the process. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BOOT_TIMEOUT_MS, COMMAND_TIMEOUT_MS } from '../../support/linux-guest.ts';
import { runningMachinesOf } from '../../support/running-machines.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { TSVM } from '../../support/tsvm-process.ts';

const MIB = 2 ** 20;
const MEMORY_MIB = 256;
const FILE_MIB = 96;
/** What the balloon leaves free: Debian's kernel takes more of the memory than the tuned one. */
const LEFT_MIB = 32;

interface Balloon {
  readonly memoryBytes: number;
  readonly targetBytes: number;
  readonly actualBytes: number;
  readonly statistics: Readonly<Record<string, number>>;
}

test('free memory and memory in the balloon are returned to the host, unless the guest runs out of memory', async (context) => {
  const { run, env } = runningMachinesOf(context);
  assert.equal((await run(`boot -d --name web --balloon --memory ${MEMORY_MIB}M`)).stdout, 'web\n');
  const pid = (await run('list --format {{.PID}}')).stdout.trim();
  const residentMib = () => {
    const [, kib] = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Number(kib) / 1024;
  };
  const until = async (what: string, done: () => boolean | Promise<boolean>) => {
    const endMs = performance.now() + COMMAND_TIMEOUT_MS;
    while (!(await done())) {
      assert.ok(performance.now() < endMs, `${what}: ${residentMib()} MiB are resident`);
      await sleep(100);
    }
  };
  const balloon = async (args = ''): Promise<Balloon> =>
    JSON.parse((await run(`balloon --format json web${args}`)).stdout);

  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const session = new TerminalSession(context, `${set.join(' ')} ${TSVM} console web`);
  const guest = async (command: string, said: string) => {
    session.type(`${command} && echo ${said.slice(0, 2)}""${said.slice(2)}\r`);
    await session.waitFor(new RegExp(`^${said}$`, 'm'), COMMAND_TIMEOUT_MS);
  };
  await session.waitFor(/built-in commands/, BOOT_TIMEOUT_MS);
  const fill = `dd if=/dev/zero of=/tmp/file bs=1M count=${FILE_MIB}`;

  // Free page reporting.
  await guest(fill, 'filled');
  const filledMib = residentMib();
  await guest('rm /tmp/file', 'removed');
  await until('free memory is reported', () => residentMib() < filledMib - 0.8 * FILE_MIB);

  // The balloon.
  const before = await balloon();
  assert.equal(before.memoryBytes, MEMORY_MIB * MIB);
  assert.equal(before.actualBytes, 0);
  const freeMib = (before.statistics['freeBytes'] ?? 0) / MIB;
  assert.ok(freeMib > 150, `${freeMib} MiB are free`);
  const balloonMib = Math.floor(freeMib) - LEFT_MIB;
  const { targetBytes: target } = await balloon(` ${MEMORY_MIB - balloonMib}M`);
  assert.equal(target, balloonMib * MIB);
  await until('the balloon is full', async () => {
    const { actualBytes, targetBytes } = await balloon();
    return actualBytes === targetBytes;
  });
  const small = await balloon();
  assert.ok((small.statistics['freeBytes'] ?? 0) / MIB < 2 * LEFT_MIB);
  assert.ok(residentMib() < filledMib - 0.8 * FILE_MIB, `${residentMib()} MiB are resident`);

  // Deflate on OOM: more than the guest has left.
  await guest(fill, 'refilled');
  const { actualBytes } = await balloon();
  assert.ok(actualBytes < target - (FILE_MIB - 2 * LEFT_MIB) * MIB, `${actualBytes / MIB} MiB`);
  assert.doesNotMatch(session.screen(), /Out of memory/);

  await guest('rm /tmp/file', 'cleared');
  await balloon(' max');
  await until('the balloon is empty', async () => (await balloon()).actualBytes === 0);
});
