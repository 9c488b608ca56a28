/** The files of a container, whether it runs or not. */
import type { Readable } from 'node:stream';
import { existingPath, openArchive } from '../../../api/containers/archives.ts';
import type { ContainerClient } from '../../../api/containers/container-client.ts';
import { MachineFolder } from '../../../api/machines/machine-folder.ts';
import {
  type Agent,
  AgentError,
  type PathChange,
  type PathStat,
  type WriteArchiveOptions,
} from '../../../container/agent/agent.ts';
import {
  type ArchivePipe,
  readArchive,
  writeArchive,
} from '../../../container/agent/agent-socket.ts';
import { connectAgent } from '../../../container/agent/connect-agent.ts';
import { isActive, isRunning } from '../../../container/containers/container-state.ts';
import type { Container, ContainerStore } from '../../../container/containers/container-store.ts';
import { MachineStarter } from '../../../container/containers/start-machine.ts';
import { MachineTemplates } from '../../../container/warm-start/machine-templates.ts';
import { TsvmError } from '../../../errors.ts';
import { createLogger } from '../../../observability/logger.ts';
import { printMessage } from '../../standard-streams.ts';
import { containerGuest } from '../container-guest.ts';
import { clientOf } from '../containers.ts';
import { openStore } from '../open-store.ts';

export type ArchiveOf = 'changes' | 'root';

/** The methods throw TsvmError. */
export interface ContainerRootFiles {
  /** Undefined when there is no such path. */
  stat(path: string): Promise<PathStat | undefined>;
  read(path: string): Promise<ArchivePipe>;
  /**
   * Unpacks an archive in a folder.
   * @param fd to read it from; stays open
   * @returns its bytes
   */
  write(path: string, fd: number, options: WriteArchiveOptions): Promise<number>;
  changes(): Promise<PathChange[]>;
  /** @param freezes a running container's processes stand still until it has been read */
  archive(of: ArchiveOf, freezes?: boolean): Promise<Readable>;
}

/**
 * Runs `work` with the files of a container. One that does not run gets a machine for that time, in
 * this process, without network; meanwhile it cannot be started.
 * @throws TsvmError
 */
export async function withContainerRoot<T>(
  store: ContainerStore,
  container: Container,
  work: (root: ContainerRootFiles) => Promise<T>,
): Promise<T> {
  const { config, state } = container;
  if (state.status === 'paused') {
    throw new TsvmError('container-conflict', `container ${config.id} is paused: unpause it first`);
  }
  if (isRunning(state)) {
    const folder = store.folders.process(config.id);
    return await work(new RunningRoot(clientOf(store, container), folder));
  }
  if (isActive(state)) {
    throw new TsvmError('container-conflict', `container ${config.id} is being started or stopped`);
  }
  return await withStoppedRoot(store, container, work);
}

async function withStoppedRoot<T>(
  store: ContainerStore,
  { config }: Container,
  work: (root: ContainerRootFiles) => Promise<T>,
): Promise<T> {
  const { folders } = store;
  using folder = await MachineFolder.claim(config.id, folders.runtime);
  folder.writeRecord({ pid: process.pid, startedMs: Date.now() });
  const machines = new MachineStarter({
    images: openStore(),
    folders,
    guest: containerGuest(),
    connectAgent,
    templates: MachineTemplates.ofUser(),
    logger: createLogger('warn', (line) => printMessage(`tsvm: ${line}\n`)),
  });
  const network = { ...config.network, mode: 'none', endpoints: [], ports: {} } as const;
  const machine = await machines.start({ ...config, network, readOnly: false });
  try {
    return await work(new AgentRoot(machine.agent, folder.path));
  } finally {
    await machine.close(true);
  }
}

class AgentRoot implements ContainerRootFiles {
  readonly #agent: Agent;
  readonly #folder: string;

  /** @param folder of this process, see ContainerFolders */
  constructor(agent: Agent, folder: string) {
    this.#agent = agent;
    this.#folder = folder;
  }

  async stat(path: string): Promise<PathStat | undefined> {
    return (await told(existingPath(this.#agent, path))) ?? undefined;
  }

  read(path: string): Promise<ArchivePipe> {
    return read(this.#folder, path);
  }

  write(path: string, fd: number, options: WriteArchiveOptions): Promise<number> {
    return told(writeArchive(this.#folder, path, fd, options));
  }

  changes(): Promise<PathChange[]> {
    return told(this.#agent.changes());
  }

  archive(of: ArchiveOf): Promise<Readable> {
    return told(openArchive(this.#agent, { of }));
  }
}

async function read(folder: string, path: string): Promise<ArchivePipe> {
  const { fd, done } = await told(readArchive(folder, path));
  const bytes = told(done);
  bytes.catch(() => {});
  return { fd, done: bytes };
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

class RunningRoot implements ContainerRootFiles {
  readonly #client: ContainerClient;
  readonly #folder: string;

  /** @param folder of the container's process, see ContainerFolders */
  constructor(client: ContainerClient, folder: string) {
    this.#client = client;
    this.#folder = folder;
  }

  async stat(path: string): Promise<PathStat | undefined> {
    return JSON.parse(await this.#client.call('pathStat', { query: { path } })) ?? undefined;
  }

  read(path: string): Promise<ArchivePipe> {
    return read(this.#folder, path);
  }

  write(path: string, fd: number, options: WriteArchiveOptions): Promise<number> {
    return told(writeArchive(this.#folder, path, fd, options));
  }

  async changes(): Promise<PathChange[]> {
    return JSON.parse(await this.#client.call('changes'));
  }

  async archive(of: ArchiveOf, freezes = false): Promise<Readable> {
    const freeze = freezes ? 'yes' : 'no';
    const { socket } = await this.#client.upgrade('readArchive', { of, freeze });
    return socket;
  }
}
