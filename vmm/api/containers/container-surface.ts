import { AttachedClient } from '../../container/containers/attached-client.ts';
import type { ContainerSupervisor } from '../../container/containers/container-supervisor.ts';
import { runExec } from '../../container/containers/exec-session.ts';
import { OperationsSurface, type UpgradedConnection } from '../http/operations-surface.ts';
import type { Surface } from '../http/surface.ts';
import { CONTAINER_API, CONTAINER_OPERATIONS } from './operations.ts';

export function containerSurface(supervisor: ContainerSupervisor): Surface {
  return new OperationsSurface(CONTAINER_API, CONTAINER_OPERATIONS, {
    attach: ({ query }, connection) => {
      const client: AttachedClient = accept(connection, {
        message: (message) => supervisor.message(message),
        closed: () => supervisor.detach(client),
      });
      supervisor.attach(client, {
        stdin: query.stdin === 'yes',
        stdout: query.stdout === 'yes',
        stderr: query.stderr === 'yes',
      });
    },
    exec: (_, connection) => {
      // Refused before the upgrade.
      supervisor.assertTakesExec();
      runExec(supervisor, (requests) => accept(connection, requests));
    },
    wait: async ({ query: { condition } }) => ({
      exitCode: await (condition === 'removed' ? supervisor.removed : supervisor.nextExit()),
    }),
    kill: async ({ query: { signal } }) => {
      await supervisor.kill(signal);
      return undefined;
    },
    stop: async ({ query: { forever, signal, timeout } }) => {
      await supervisor.stop(forever === 'yes' ? -1 : timeout, signal);
      return undefined;
    },
    pause: async () => {
      await supervisor.pause();
      return undefined;
    },
    unpause: async () => {
      await supervisor.unpause();
      return undefined;
    },
    reload: async () => {
      await supervisor.reload();
      return undefined;
    },
    processes: async () => JSON.stringify(await supervisor.machine.agent.processes()),
    stats: async () => JSON.stringify(await supervisor.machine.agent.stats()),
  });
}

function accept(
  { accept: answer, head, socket }: UpgradedConnection,
  requests: ConstructorParameters<typeof AttachedClient>[1],
): AttachedClient {
  answer();
  const client = new AttachedClient(socket, requests);
  if (head.byteLength > 0) client.receive(Buffer.from(head));
  return client;
}
