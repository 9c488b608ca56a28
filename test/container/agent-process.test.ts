/** Real guests: a container's root is assembled and processes run in it. */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
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
