/** Limits, counters, the process list, the clock and what goes back to the host. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import type { AgentEvent } from '../../vmm/container/agent/agent.ts';
import { bootAgentGuest, writableDisk } from '../support/agent-guest.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

const MIB = 2 ** 20;

test('limits, counters and processes', async (t) => {
  const guest = await bootAgentGuest(t);
  const { agent } = guest;
  await agent.assemble({
    ...guest.root,
    limits: { memoryBytes: 64 * MIB, cpus: 1.5, pids: 40, cpuset: '0', cpuWeight: 200 },
  });
  const first = await agent.startProcess({
    args: ['sh', '-c', 'sleep 1000 & sleep 1001; true'],
    env: ['PATH=/bin'],
    user: 'ann',
  });
  first.stdout.resume();
  first.stderr?.resume();
  const limits = async () =>
    (
      await guest.run([
        'sh',
        '-c',
        'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max cpuset.cpus cpu.weight; nproc',
      ])
    ).stdout;
  equal(await limits(), `${64 * MIB}\n150000 100000\n40\n0\n200\n1\n`);

  // A shell takes a moment to start them.
  let rows = await agent.processes();
  while (rows[2]?.args[0] !== 'sleep' || rows.some(({ state }) => state !== 'S')) {
    rows = await agent.processes();
  }
  const table = rows.map(({ pid, parentPid, user, args }) => [
    pid,
    parentPid,
    user,
    args.join(' '),
  ]);
  deepEqual(table, [
    [1, 0, 'ann', 'sh -c sleep 1000 & sleep 1001; true'],
    [table[1]?.[0], 1, 'ann', 'sleep 1000'],
    [table[2]?.[0], 1, 'ann', 'sleep 1001'],
  ]);
  ok(rows.every(({ state, residentBytes }) => state === 'S' && residentBytes > 0));

  const before = await agent.stats();
  equal(before.memoryLimitBytes, 64 * MIB);
  equal(before.pids, 3);
  equal(before.pidsLimit, 40);
  equal(before.onlineCpus, 2);
  await guest.run(['sh', '-c', 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done']);
  const stats = await agent.stats();
  ok(stats.cpuMs > before.cpuMs);
  ok(stats.uptimeMs > before.uptimeMs);
  equal(stats.oomKills, 0);

  const events: AgentEvent[] = [];
  const killed = new Promise<void>((resolve) => {
    agent.onEvent((event) => {
      events.push(event);
      resolve();
    });
  });
  const hungry = await guest.run(['sh', '-c', 'tail -c 200000000 /dev/zero']);
  deepEqual(hungry.end, { signal: 9 });
  await killed;
  deepEqual(events, [{ type: 'oom' }]);
  ok((await agent.stats()).oomKills > 0);

  await agent.updateLimits({ pids: 50 });
  equal(await limits(), 'max\nmax 100000\n50\n0-1\n100\n2\n');
  await rejects(agent.updateLimits({ cpuset: '99' }), { code: 'guest-failed' });
});

test('the clock is set to the host’s', async (t) => {
  const guest = await bootAgentGuest(t);
  await guest.agent.assemble(guest.root);
  const first = await guest.agent.startProcess({ args: ['sleep', '1000'], env: ['PATH=/bin'] });
  first.stdout.resume();
  first.stderr?.resume();
  const spec = { capAdd: ['SYS_TIME'] };
  await guest.run(['date', '-s', '2001-01-01 00:00:00'], spec);
  match((await guest.run(['date', '-u', '+%Y'])).stdout, /^2001$/m);
  const before = Date.now() / 1000;
  await guest.agent.setClock();
  const seconds = Number((await guest.run(['date', '+%s'])).stdout);
  ok(seconds > before - 5 && seconds < Date.now() / 1000 + 5, `${before} ${seconds}`);
});

test('blocks of deleted files go back to the host', async (t) => {
  const writablePath = writableDisk(temporaryFolder(t));
  const guest = await bootAgentGuest(t, { writablePath });
  const used = () => statSync(writablePath).blocks * 512;
  await guest.agent.assemble(guest.root);
  const first = await guest.agent.startProcess({ args: ['sleep', '1000'], env: ['PATH=/bin'] });
  first.stdout.resume();
  first.stderr?.resume();
  const empty = used();
  await guest.run(['sh', '-c', 'head -c 20000000 /dev/urandom > /big; sync']);
  ok(used() > empty + 18 * MIB);
  await guest.run(['rm', '/big']);
  await guest.agent.trim();
  ok(used() < empty + 4 * MIB);
  await guest.agent.shutdown();
  await guest.machine.ended;
  execFileSync('e2fsck', ['-fn', writablePath], { stdio: 'pipe' });
});
