/** The process that runs a container: `tsvm container-supervisor ID`, see `attach/supervisor-channel.ts`. */
import { closeSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { ApiServer } from '../../api/http/api-server.ts';
import { MachineFolder } from '../../api/machines/machine-folder.ts';
import { connectAgent } from '../../container/agent/connect-agent.ts';
import {
  AttachedClient,
  clientsServed,
  terminalSize,
} from '../../container/containers/attached-client.ts';
import { ContainerFolders } from '../../container/containers/container-folders.ts';
import { ContainerStore } from '../../container/containers/container-store.ts';
import { ContainerSupervisor } from '../../container/containers/container-supervisor.ts';
import { startFailure } from '../../container/containers/start-failure.ts';
import { MachineStarter } from '../../container/containers/start-machine.ts';
import { MachineTemplates } from '../../container/warm-start/machine-templates.ts';
import { errorText } from '../../errors.ts';
import { replaceDescriptor } from '../../host/descriptors.ts';
import { hostFiles } from '../../host/host-files.ts';
import { createLogger } from '../../observability/logger.ts';
import { EXIT_OUR_FAILURE } from '../exit-codes.ts';
import { handleFaults } from '../run-to-exit.ts';
import { printMessage } from '../standard-streams.ts';
import { CHANNEL_FD, type StartMessage } from './attach/supervisor-channel.ts';
import { containerGuest } from './container-guest.ts';
import { openStore } from './open-store.ts';
import { startTemplateProcess } from './template-process.ts';

/** A container that runs for so long has started its work. */
const TEMPLATE_DELAY_MS = 10_000;
const STDERR_FD = 2;

/** @returns the exit code of this process, which nobody waits for */
export async function superviseContainer(id: string): Promise<number> {
  const folders = ContainerFolders.ofUser();
  const store = new ContainerStore(folders, hostFiles());
  const logger = createLogger('info', (line) =>
    printMessage(`${new Date().toISOString()} ${line}\n`),
  );
  let supervisor: ContainerSupervisor | undefined;
  let machines: MachineStarter | undefined;
  const makeTemplate = () => {
    const shape = machines?.wantedTemplate;
    if (shape !== undefined) startTemplateProcess(shape);
  };
  setTimeout(makeTemplate, TEMPLATE_DELAY_MS).unref();
  const claimed = Promise.withResolvers<void>();
  const started = Promise.withResolvers<StartMessage>();
  started.promise.catch(() => {});
  const client = new AttachedClient(new Socket({ fd: CHANNEL_FD }), {
    message: (message) => {
      if (message['type'] === 'claim') claimed.resolve();
      else if (message['type'] === 'start') started.resolve(message as unknown as StartMessage);
      else supervisor?.message(message);
    },
    closed: () => {
      supervisor?.detach(client);
      const gone = new Error('the client has gone before it said what to start');
      claimed.reject(gone);
      started.reject(gone);
    },
  });
  handleFaults((error) => {
    logger.error(errorText(error));
    client.send({ type: 'failed', ...startFailure(error, '') });
    setTimeout(() => process.exit(EXIT_OUR_FAILURE), 10);
  });
  try {
    const guest = containerGuest();
    const images = openStore();
    const templates = MachineTemplates.ofUser();
    const starter = new MachineStarter({ images, folders, guest, connectAgent, templates, logger });
    machines = starter;
    await claimed.promise;
    const folder = await MachineFolder.claim(id, folders.runtime);
    process.once('exit', () => folder[Symbol.dispose]());
    folder.writeRecord({ pid: process.pid, startedMs: Date.now() });
    try {
      const message = await started.promise;
      keepMessages(folders.supervisorLog(id));
      supervisor = new ContainerSupervisor(id, {
        store,
        startMachine: (config) => starter.start(config),
        logger,
      });
      return await runAttached(supervisor, client, message, folder, starter.booting);
    } finally {
      // It has ended in a way that left no trace, for example because the disk is full.
      await store.settleLocked(id);
      folder[Symbol.dispose]();
    }
  } catch (error) {
    logger.error(errorText(error));
    client.send({ type: 'failed', ...startFailure(error, '') });
    return EXIT_OUR_FAILURE;
  } finally {
    client.end();
    await Promise.all([clientsServed(), supervisor?.close()]);
    makeTemplate();
  }
}

async function runAttached(
  supervisor: ContainerSupervisor,
  client: AttachedClient,
  { columns, rows, streams }: StartMessage,
  folder: MachineFolder,
  booting: Promise<void>,
): Promise<number> {
  const size = terminalSize({ columns, rows });
  if (size !== undefined) await supervisor.resize(size);
  supervisor.attach(client, {
    stdin: streams.includes('stdin'),
    stdout: streams.includes('stdout'),
    stderr: streams.includes('stderr'),
  });
  endWithHost(supervisor);
  const server = new ApiServer(async () => {
    const { containerSurface } = await import('../../api/containers/container-surface.ts');
    return [containerSurface(supervisor)];
  });
  try {
    // Clients wait for the socket while the lock is held.
    booting
      .then(() => server.listen(folder.socketPath))
      .catch((error: unknown) => logged(folder, error));
    const outcome = await supervisor.run(() => client.send({ type: 'started' }));
    return outcome.kind === 'exited' ? 0 : 1;
  } finally {
    server.close();
  }
}

/** Has the messages of this process, and of what it starts, in a file. */
function keepMessages(path: string): void {
  const log = openSync(path, 'w', 0o600);
  replaceDescriptor(log, STDERR_FD);
  closeSync(log);
}

function logged({ name }: MachineFolder, error: unknown): void {
  printMessage(`the container ${name} cannot be reached: ${errorText(error)}\n`);
}

/** The host shuts down, or somebody ends this process: the container is stopped as by `stop`. */
function endWithHost(supervisor: ContainerSupervisor): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      supervisor.end().catch(() => {});
    });
  }
}
