import { AgentError } from '../../container/agent/agent.ts';
import { AttachedClient } from '../../container/containers/attached-client.ts';
import type { ContainerSupervisor } from '../../container/containers/container-supervisor.ts';
import { runExec } from '../../container/containers/exec-session.ts';
import { openNetworkStore } from '../../container/networks/network-store.ts';
import { TsvmError } from '../../errors.ts';
import { OperationsSurface, type UpgradedConnection } from '../http/operations-surface.ts';
import type { Surface } from '../http/surface.ts';
import { existingPath, openArchive, sendArchive } from './archives.ts';
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
    kill: ({ query: { signal } }) => done(supervisor.kill(signal)),
    stop: ({ query: { forever, signal, timeout } }) =>
      done(supervisor.stop(forever === 'yes' ? -1 : timeout, signal)),
    pause: () => done(supervisor.pause()),
    unpause: () => done(supervisor.unpause()),
    connect: ({ body }) => done(supervisor.connect(body)),
    disconnect: ({ body: { network } }) =>
      done(supervisor.disconnect(openNetworkStore().find(network))),
    reload: () => done(supervisor.reload()),
    processes: () => json(() => supervisor.machine.agent.processes()),
    stats: () => json(() => supervisor.machine.agent.stats()),
    pathStat: ({ query: { path } }) => json(() => existingPath(supervisor.machine.agent, path)),
    changes: () => json(() => supervisor.machine.agent.changes()),
    readArchive: async ({ query }, connection) => {
      const { agent } = supervisor.machine;
      const freezes = query.freeze === 'yes';
      if (freezes) await told(agent.freeze());
      const thaw = () => {
        // If it fails, the machine has ended.
        if (freezes) agent.thaw().catch(() => {});
      };
      try {
        const archive = await told(openArchive(agent, query));
        connection.accept();
        sendArchive(archive, connection.socket, thaw);
      } catch (error) {
        thaw();
        throw error;
      }
    },
  });
}

async function done(work: Promise<void>): Promise<undefined> {
  await told(work);
}

async function json(ask: () => Promise<unknown>): Promise<string> {
  return JSON.stringify(await told(ask()));
}

/** What the guest answers is no fault of this program. */
async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    throw new TsvmError('container-failed', error.message, { cause: error });
  }
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
