/** Real guests: a container's root is assembled and processes run in it. */
import { deepEqual, equal, rejects } from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { connectAgent } from '../../vmm/container/agent/connect-agent.ts';
import { bootAgentGuest } from '../support/agent-guest.ts';

test('a container runs its program, tells its exit code and powers off', async (t) => {
  const { agent, machine, root, run } = await bootAgentGuest(t);
  await agent.assemble(root);
  const script = 'echo to stdout; echo to stderr >&2; hostname; cat /etc/hosts; exit 7';
  const result = await run(['sh', '-c', script]);
  deepEqual(result, {
    stdout: 'to stdout\nbox\n127.0.0.1\tlocalhost\n',
    stderr: 'to stderr\n',
    end: { exitCode: 7 },
  });
  await agent.shutdown();
  equal((await machine.ended).reason, 'poweroff');
});

test('an agent that has lost its host connects again, and the container has gone on', async (t) => {
  let control: Duplex | undefined;
  const guest = await bootAgentGuest(t, {
    onControl: (stream) => {
      control = stream;
    },
  });
  await guest.agent.assemble(guest.root);
  const first = await guest.agent.startProcess({ args: ['sleep', '1000'], env: ['PATH=/bin'] });
  if (guest.machine.vsock === undefined) throw new Error('the machine has no vsock device');
  const connected = connectAgent(guest.machine.vsock);
  control?.destroy();
  await rejects(guest.agent.stats(), { code: 'agent-lost' });
  const agent = await connected;
  equal((await agent.stats()).pids, 1);
  deepEqual((await agent.processes())[0]?.args, ['sleep', '1000']);
  await agent.signal(first, 9);
  deepEqual(await first.ended, { signal: 9 });
  await agent.shutdown();
});
