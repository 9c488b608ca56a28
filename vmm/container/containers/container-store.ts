import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  isMachineAlive,
  removeDeadMachine,
  takeDeadMachine,
} from '../../api/machines/machine-folder.ts';
import { TsvmError } from '../../errors.ts';
import { replaceFile } from '../../host/atomic-file.ts';
import type { FileLocks } from '../../host/file-locks.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { hasCode } from '../../util/error-code.ts';
import { printable } from '../../util/printable.ts';
import { StoreLocks } from '../store/locks.ts';
import { storeFailure } from '../store/store-failure.ts';
import { CONFIG_VERSION, type ContainerConfig } from './container-config.ts';
import { type ContainerFolders, isContainerId } from './container-folders.ts';
import { randomName } from './container-name.ts';
import { type ContainerState, isActive, NEW_STATE, STATE_VERSION } from './container-state.ts';
import { removeOldExitRecords, writeExitRecord } from './exit-records.ts';
import { overwriteInBlock, unlessFull } from './full-disk.ts';

/** A container as the store has it. */
export interface Container {
  readonly config: ContainerConfig;
  readonly state: ContainerState;
}

/** A container of which no name is known yet. */
export type NewContainer = Omit<ContainerConfig, 'name'>;

const REMOVED_PREFIX = 'removed-';
const NAME_ATTEMPTS = 20;
/** A supervisor takes the lock of its container within this time, or never. */
const SUPERVISOR_START_MS = 10_000;
/** For how long a command waits for another one that settles a container. */
const SETTLE_MS = 10_000;
const POLL_MS = 10;
/** Exit code of a container whose supervisor was killed: as by SIGKILL. */
const EXIT_KILLED = 137;
const KILLED_TEXT = 'the process that ran this container was killed, and its machine with it';

/** A user's containers. Whatever reads it first settles what killed processes have left. */
export class ContainerStore {
  readonly folders: ContainerFolders;
  readonly #locks: FileLocks;

  /** @param folders need not exist */
  constructor(folders: ContainerFolders, locks: FileLocks) {
    this.folders = folders;
    this.#locks = locks;
  }

  /** All containers, the newest first. */
  async list(): Promise<Container[]> {
    await this.#removeLeftovers();
    const containers: Container[] = [];
    for (const id of this.#ids()) {
      const container = await this.#settled(id);
      if (container !== undefined) containers.push(container);
    }
    return containers.sort((a, b) => b.config.createdMs - a.config.createdMs);
  }

  /**
   * Finds a container by its name, its ID or the beginning of its ID, as Docker does.
   * @throws TsvmError `container-not-found`, `container-conflict` when several IDs begin like that
   */
  async find(text: string): Promise<Container> {
    const id = this.resolve(text);
    const container = await this.#settled(id);
    if (container === undefined) throw notFound(text);
    return container;
  }

  /** As {@link find}; reads no container. @returns its ID */
  resolve(text: string): string {
    const ids = this.#ids();
    if (isContainerId(text) && ids.includes(text)) return text;
    const named = this.#idOfName(text.replace(/^\//, ''));
    if (named !== undefined && ids.includes(named)) return named;
    const [first, second] = /^[0-9a-f]+$/.test(text) ? ids.filter((id) => id.startsWith(text)) : [];
    if (first === undefined) throw notFound(text);
    if (second === undefined) return first;
    throw new TsvmError('container-conflict', `Multiple IDs found with provided prefix: ${text}`);
  }

  /** Whether {@link find} would find a container. */
  has(text: string): boolean {
    try {
      this.resolve(text);
      return true;
    } catch (error) {
      if (error instanceof TsvmError) return false;
      throw error;
    }
  }

  /** Undefined when it was removed, or is half made. */
  read(id: string): Container | undefined {
    const config = readJson<ContainerConfig>(this.folders.config(id), CONFIG_VERSION);
    if (config === undefined) return undefined;
    const state = readJson<ContainerState>(this.folders.state(id), STATE_VERSION) ?? NEW_STATE;
    return { config, state };
  }

  /** All containers as their files say, in any order; a supervisor may have been killed. */
  readAll(): Container[] {
    return this.#ids().flatMap((id) => this.read(id) ?? []);
  }

  /** True while a supervisor has the container. */
  isAlive(id: string): boolean {
    return isMachineAlive(this.folders.process(id), this.#locks);
  }

  /**
   * Adds a container, and takes its name.
   * @param name undefined: a random one
   * @throws TsvmError `container-conflict` when the name is taken
   */
  async create(
    container: NewContainer,
    name: string | undefined,
    state: ContainerState = NEW_STATE,
  ): Promise<ContainerConfig> {
    const { id } = container;
    return await this.#changing(() => {
      const config = { ...container, name: name ?? this.#freeName() };
      const holder = this.#idOfName(config.name);
      if (holder !== undefined) throw nameTaken(config.name, holder);
      mkdirSync(this.folders.container(id), { mode: 0o700 });
      // Nobody looks at a folder without a configuration.
      this.writeState(id, state);
      symlinkSync(id, this.folders.name(config.name));
      this.#writeConfig(config);
      return config;
    });
  }

  /** Written by whoever has the container's lock, or while no supervisor has it. */
  writeState(id: string, state: ContainerState): void {
    replaceFile(this.folders.state(id), `${JSON.stringify(state)}\n`);
  }

  /** Like {@link writeState} for a container that is there, and works on a full disk as well. */
  keepState(id: string, state: ContainerState): void {
    if (!unlessFull(() => this.writeState(id, state))) {
      overwriteInBlock(this.folders.state(id), `${JSON.stringify(state)}\n`);
    }
  }

  /** Changes the configuration of a container. */
  async updateConfig(
    id: string,
    change: (config: ContainerConfig) => ContainerConfig,
  ): Promise<ContainerConfig> {
    return await this.#changing(() => {
      const container = this.read(id);
      if (container === undefined) throw notFound(id);
      const config = change(container.config);
      this.#writeConfig(config);
      return config;
    });
  }

  /** @throws TsvmError `container-not-found`, `container-conflict` */
  async rename(id: string, name: string): Promise<void> {
    await this.#changing(() => {
      const container = this.read(id);
      if (container === undefined) throw notFound(id);
      const holder = this.#idOfName(name);
      if (holder !== undefined) throw nameTaken(name, holder);
      const old = container.config.name;
      symlinkSync(id, this.folders.name(name));
      this.#writeConfig({ ...container.config, name });
      rmSync(this.folders.name(old), { force: true });
    });
  }

  /**
   * Removes a container that no supervisor has, or that the caller has the lock of. Its name is free
   * then. An interrupted removal is completed by the next command.
   * @returns false when another command has removed it meanwhile
   */
  async remove(id: string): Promise<boolean> {
    const removed = join(this.folders.root, REMOVED_PREFIX + id);
    const isOurs = await this.#changing(() => {
      const container = this.read(id);
      if (container !== undefined && this.#idOfName(container.config.name) === id) {
        rmSync(this.folders.name(container.config.name), { force: true });
      }
      try {
        renameSync(this.folders.container(id), removed);
        return true;
      } catch (error) {
        if (hasCode(error, 'ENOENT')) return false;
        throw error;
      }
    });
    rmSync(removed, { recursive: true, force: true });
    return isOurs;
  }

  /** Removes what a supervisor that was killed has left of its process. */
  forgetProcess(id: string): void {
    const folder = this.folders.process(id);
    if (!isMachineAlive(folder, this.#locks)) removeDeadMachine(folder);
  }

  /** Keeps the exit code outside of what a removal removes. */
  recordExit(id: string, state: ContainerState): void {
    const { error, exitCode, finishedMs } = state;
    unlessFull(() => writeExitRecord(this.folders.exits, id, { exitCode, finishedMs, error }));
  }

  /**
   * A container that needs a supervisor has none any more: it counts as killed. The caller has its lock.
   * @returns undefined when it is removed then, or was not there
   */
  async settleLocked(id: string): Promise<Container | undefined> {
    const container = this.read(id);
    if (container === undefined || !isActive(container.state)) return container;
    const state: ContainerState = {
      ...container.state,
      status: 'exited',
      pid: 0,
      guestPid: 0,
      exitCode: EXIT_KILLED,
      error: this.lastWords(id) ?? KILLED_TEXT,
      finishedMs: Date.now(),
      facts: {},
    };
    this.recordExit(id, state);
    this.keepState(id, state);
    if (!container.config.autoRemove) return { ...container, state };
    await this.remove(id);
    return undefined;
  }

  #ids(): string[] {
    return namesIn(this.folders.root).filter(isContainerId);
  }

  /** A name whose container is gone or half made is free; that is decided under the lock. */
  #idOfName(name: string): string | undefined {
    try {
      return readlinkSync(this.folders.name(name));
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'EINVAL', 'ENOTDIR', 'ENAMETOOLONG')) return undefined;
      throw error;
    }
  }

  #freeName(): string {
    for (let attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
      const name = randomName(attempt);
      if (this.#idOfName(name) === undefined) return name;
    }
    throw new TsvmError('container-conflict', 'no random name is free: give one with --name');
  }

  #writeConfig(config: ContainerConfig): void {
    replaceFile(this.folders.config(config.id), `${JSON.stringify(config)}\n`);
  }

  /** Runs `work`, which does not wait, while nobody else changes the set of containers or names. */
  async #changing<T>(work: () => T): Promise<T> {
    try {
      makeFolders(this.folders.names, 0o700);
    } catch (error) {
      throw storeFailure(this.folders.root, error);
    }
    const lock = await new StoreLocks(this.folders.lock, this.#locks).ownCatalog();
    try {
      this.#removeHalfMade();
      return work();
    } catch (error) {
      if (error instanceof TsvmError || !(error instanceof Error && 'syscall' in error))
        throw error;
      throw storeFailure(this.folders.root, error);
    } finally {
      lock.release();
    }
  }

  /** Containers are made and renamed under the lock, so what is half made is so for ever. */
  #removeHalfMade(): void {
    for (const id of this.#ids()) {
      const path = this.folders.config(id);
      if (statSync(path, { throwIfNoEntry: false }) !== undefined) continue;
      rmSync(this.folders.container(id), { recursive: true, force: true });
    }
    for (const name of namesIn(this.folders.names)) {
      const target = join(this.folders.names, name);
      const id = readlinkSync(target);
      const config = this.folders.config(id);
      if (statSync(config, { throwIfNoEntry: false }) === undefined) rmSync(target);
    }
  }

  /** What an interrupted removal has left. */
  async #removeLeftovers(): Promise<void> {
    for (const name of namesIn(this.folders.root)) {
      const path = join(this.folders.root, name);
      if (name.startsWith(REMOVED_PREFIX)) rmSync(path, { recursive: true, force: true });
    }
    if (statSync(this.folders.exits, { throwIfNoEntry: false }) !== undefined) {
      removeOldExitRecords(this.folders.exits);
    }
    for (const id of namesIn(this.folders.runtime).filter(isContainerId)) {
      this.forgetProcess(id);
    }
  }

  /** A container whose state is true. Undefined when it was removed. */
  async #settled(id: string): Promise<Container | undefined> {
    const container = this.read(id);
    if (container === undefined || !isActive(container.state)) return container;
    if (this.isAlive(id)) return container;
    const { state } = container;
    if (state.status === 'starting' && Date.now() - state.startedMs < SUPERVISOR_START_MS) {
      return container;
    }
    return await this.#settle(id);
  }

  /** What a process that was killed has said last; its sandbox, for example, gives a reason. */
  lastWords(id: string): string | undefined {
    try {
      const lines = readFileSync(this.folders.supervisorLog(id), 'utf8').trim().split('\n');
      return printable(lines.at(-1) ?? '') || undefined;
    } catch {
      return undefined;
    }
  }

  /** The supervisor of a container was killed. */
  async #settle(id: string): Promise<Container | undefined> {
    for (const endMs = performance.now() + SETTLE_MS; ; await sleep(POLL_MS)) {
      using taken = takeDeadMachine(this.folders.process(id));
      if (taken !== undefined) {
        const container = await this.settleLocked(id);
        const { cleanNetworks } = await import('../networks/network-membership.ts');
        await cleanNetworks();
        return container;
      }
      // Another command settles it, or it has been started again.
      const container = this.read(id);
      if (container === undefined || !isActive(container.state)) return container;
      if (this.isAlive(id) || performance.now() > endMs) return container;
    }
  }
}

function readJson<T extends { readonly version: number }>(
  path: string,
  version: number,
): T | undefined {
  let value: T;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return undefined;
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new TsvmError('store-failed', `${path} is damaged: remove its folder`, { cause });
  }
  if (value.version === version) return value;
  throw new TsvmError('store-failed', `${path} needs another version of tsvm: use that version`);
}

function notFound(text: string): TsvmError {
  return new TsvmError('container-not-found', `No such container: ${text}`);
}

function nameTaken(name: string, holder: string): TsvmError {
  return new TsvmError(
    'container-conflict',
    `Conflict. The container name "/${name}" is already in use by container "${holder}". ` +
      'You have to remove (or rename) that container to be able to reuse that name.',
  );
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
