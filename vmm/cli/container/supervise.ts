/** The process that runs a container: `tsvm container-supervisor ID`, which `run` and `start` start. */
import { Socket } from 'node:net';
import { ApiServer } from '../../api/http/api-server.ts';
import { MachineFolder } from '../../api/machines/machine-folder.ts';
import { connectAgent } from '../../container/agent/connect-agent.ts';
import { AttachedClient, terminalSize } from '../../container/containers/attached-client.ts';
import { ContainerFolders } from '../../container/containers/container-folders.ts';
import { ContainerStore } from '../../container/containers/container-store.ts';
import { ContainerSupervisor } from '../../container/containers/container-supervisor.ts';
import { startFailure } from '../../container/containers/start-failure.ts';
import { MachineStarter } from '../../container/containers/start-machine.ts';
import { errorText } from '../../errors.ts';
import { hostFiles } from '../../host/host-files.ts';
import { createLogger } from '../../observability/logger.ts';
import { EXIT_OUR_FAILURE } from '../exit-codes.ts';
import { handleFaults } from '../run-to-exit.ts';
import { printMessage } from '../standard-streams.ts';
import { CHANNEL_FD, type StartMessage } from './attach/supervisor-channel.ts';
import { containerGuest } from './container-guest.ts';
import { openStore } from './open-store.ts';

/** @returns the exit code of this process, which nobody waits for */
export async function superviseContainer(id: string): Promise<number> {
  const folders = ContainerFolders.ofUser();
  const store = new ContainerStore(folders, hostFiles());
  const logger = createLogger('info', (line) =>
    printMessage(`${new Date().toISOString()} ${line}\n`),
  );
  let supervisor: ContainerSupervisor | undefined;
  const started = Promise.withResolvers<StartMessage>();
  const client = new AttachedClient(new Socket({ fd: CHANNEL_FD }), {
    message: (message) => {
      if (message['type'] === 'start') started.resolve(message as unknown as StartMessage);
      else supervisor?.message(message);
    },
    closed: () => {
      supervisor?.detach(client);
      started.reject(new Error('the client has gone before it said what to start'));
    },
  });
  handleFaults((error) => {
    logger.error(errorText(error));
    client.send({ type: 'failed', ...startFailure(error, '') });
    setTimeout(() => process.exit(EXIT_OUR_FAILURE), 10);
  });
  const folder = await MachineFolder.claim(id, folders.runtime);
  process.once('exit', () => folder[Symbol.dispose]());
  folder.writeRecord({ pid: process.pid, startedMs: Date.now() });
  const guest = containerGuest();
  const machines = new MachineStarter({
    images: openStore(),
    folders,
    guest,
    connectAgent,
    logger,
  });
  const { columns, rows, streams } = await started.promise;
  const running = new ContainerSupervisor(id, {
    store,
    startMachine: (config) => machines.start(config),
    logger,
  });
  supervisor = running;
  const size = terminalSize({ columns, rows });
  if (size !== undefined) await running.resize(size);
  running.attach(client, {
    stdin: streams.includes('stdin'),
    stdout: streams.includes('stdout'),
    stderr: streams.includes('stderr'),
  });
  endWithHost(running);
  const server = new ApiServer(async () => {
    const { containerSurface } = await import('../../api/containers/container-surface.ts');
    return [containerSurface(running)];
  });
  try {
    // Clients wait for the socket while the lock is held.
    const listening = machines.booting.then(() => server.listen(folder.socketPath));
    listening.catch((error: unknown) => logger.error(errorText(error)));
    const outcome = await running.run(() => client.send({ type: 'started' }));
    return outcome.kind === 'exited' ? 0 : 1;
  } finally {
    server.close();
    folder[Symbol.dispose]();
    client.end();
  }
}

/** The host shuts down, or somebody ends this process: the container is stopped as by `stop`. */
function endWithHost(supervisor: ContainerSupervisor): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      supervisor.end().catch(() => {});
    });
  }
}
