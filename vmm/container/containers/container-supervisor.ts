/**
 * Runs a container until it ends for good: the process that holds the container's lock has one. All
 * changes of the container's state are made here.
 *
 * At an end: the output is drained, the exit code is stored, the machine's ports and files are given
 * back, whoever waits is told, and then the container is removed, if it was to be.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { errorText, TsvmError } from '../../errors.ts';
import type { Logger } from '../../observability/logger.ts';
import type { TerminalSize } from '../agent/agent.ts';
import { withEndpoint, withoutEndpoint } from '../networks/network-changes.ts';
import type { EndpointSettings, NetworkSettings } from '../networks/network-settings.ts';
import type { NetworkRecord } from '../networks/network-store.ts';
import type { RunningNetworks } from '../networks/running-networks.ts';
import { removeAnonymousVolumes } from '../volumes/container-volumes.ts';
import { type AttachedClient, type AttachOptions, terminalSize } from './attached-client.ts';
import { type ContainerConfig, holdsOfHost, processArgs } from './container-config.ts';
import type { ContainerMachine, StartMachine } from './container-machine.ts';
import { ContainerRun, type RunEnd } from './container-run.ts';
import type { ContainerState } from './container-state.ts';
import type { ContainerStore } from './container-store.ts';
import { ProcessStreams } from './container-streams.ts';
import { recordEvent } from './event-log.ts';
import { HealthMonitor } from './health-monitor.ts';
import { LogWriter } from './log-writer.ts';
import { restartDelayMs, restarts } from './restart-policy.ts';
import { parseSignal } from './signals.ts';
import { type StartFailure, startFailure } from './start-failure.ts';

export interface SupervisorOptions {
  readonly store: ContainerStore;
  readonly startMachine: StartMachine;
  readonly logger: Logger;
}

/** How a container's life under a supervisor went. */
export type Outcome =
  | { readonly kind: 'failed'; readonly failure: StartFailure }
  | { readonly kind: 'exited'; readonly exitCode: number };

const STOP_TIMEOUT_S = 10;
const SIGKILL = 9;
/** Docker's, for a terminal of which nothing is known yet. */
const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

export class ContainerSupervisor {
  readonly #store: ContainerStore;
  readonly #startMachine: StartMachine;
  readonly #logger: Logger;
  readonly #clients = new Set<AttachedClient>();
  readonly #exitWaiters: ((exitCode: number) => void)[] = [];
  readonly #removal = Promise.withResolvers<number>();
  readonly #stopping = new AbortController();
  #config: ContainerConfig;
  #state: ContainerState;
  #streams: ProcessStreams;
  #log: LogWriter;
  #run: ContainerRun | undefined;
  /** Resolves when the container that is being started runs, or cannot be started. */
  #starting: Promise<void> | undefined;
  #health: HealthMonitor | undefined;
  #size = DEFAULT_SIZE;
  #closeLast = async () => {};

  /** @param id of a container whose lock this process holds */
  constructor(id: string, { logger, startMachine, store }: SupervisorOptions) {
    const container = store.read(id);
    if (container === undefined) {
      throw new TsvmError('container-not-found', `No such container: ${id}`);
    }
    this.#store = store;
    this.#startMachine = startMachine;
    this.#logger = logger;
    this.#config = container.config;
    this.#state = container.state;
    this.#log = this.#openLog();
    this.#streams = new ProcessStreams(this.#log);
  }

  get config(): ContainerConfig {
    return this.#config;
  }

  get state(): ContainerState {
    return this.#state;
  }

  /** Of the container's process, for those who attach. */
  get streams(): ProcessStreams {
    return this.#streams;
  }

  /**
   * Runs the container to its end, with restarts.
   * @param onStarted its process has been started, for the first time
   */
  async run(onStarted: () => void): Promise<Outcome> {
    let outcome: Outcome = { kind: 'exited', exitCode: 0 };
    let delayMs = 0;
    for (let first = true; ; first = false) {
      const startMs = Date.now();
      let end: RunEnd;
      try {
        end = await this.#runOnce(startMs, first ? onStarted : () => {});
        outcome = { kind: 'exited', exitCode: end.exitCode };
      } catch (error) {
        const failure = startFailure(error, processArgs(this.#config)[0] ?? '');
        // Before the first start succeeds, nobody wants it to be tried for ever.
        if (first) {
          await this.#failed(failure);
          return { kind: 'failed', failure };
        }
        end = { exitCode: failure.exitCode, oomKilled: false, error: failure.message };
      }
      delayMs = restartDelayMs(delayMs, Date.now() - startMs);
      if (!(await this.#restartsAfter(end, delayMs))) return outcome;
    }
  }

  /** Gives back what the container's last machine still has. After {@link run}. */
  async close(): Promise<void> {
    await this.#closeLast();
  }

  /** Connects a client to the container's streams. */
  attach(client: AttachedClient, options: Omit<AttachOptions, 'endsInput'>): void {
    const { attach, openStdin } = this.#config;
    const endsInput = openStdin && attach.includes('stdin');
    this.#clients.add(client);
    client.attach(this.#streams, { ...options, endsInput });
  }

  detach(client: AttachedClient): void {
    this.#clients.delete(client);
  }

  /** A message of an attached client. */
  message(message: Readonly<Record<string, unknown>>): void {
    const { signal, type } = message;
    const ignore = () => {};
    if (type === 'resize') {
      const size = terminalSize(message);
      if (size !== undefined) this.resize(size).catch(ignore);
    } else if (type === 'signal' && typeof signal === 'string') {
      this.kill(signal).catch(ignore);
    }
  }

  /** @throws TsvmError, AgentError */
  async resize(size: TerminalSize): Promise<void> {
    this.#size = size;
    if (this.#run !== undefined && this.#config.tty) {
      await this.#run.machine.agent.resize(this.#run.process, size);
    }
  }

  /** The machine of the running container. @throws TsvmError `container-conflict` */
  get machine(): ContainerMachine {
    return this.#running().machine;
  }

  /** @throws TsvmError `container-conflict` unless another process can be started */
  assertTakesExec(): void {
    const { id } = this.#config;
    if (this.#state.status === 'paused') {
      throw new TsvmError(
        'container-conflict',
        `Container ${id} is paused, unpause the container before exec`,
      );
    }
    this.#running();
  }

  /** Records an event of this container. */
  tell(action: string, attributes: Readonly<Record<string, string>> = {}): void {
    recordEvent(this.#store.folders, this.#config, action, attributes);
  }

  /** Sends a signal to the process, when it runs; waits for the end after SIGKILL. @throws TsvmError */
  async kill(signal: string): Promise<void> {
    const number = parseSignal(signal);
    await this.#starting;
    const run = this.#running();
    if (number === SIGKILL || number === parseSignal(this.#config.stopSignal)) this.#userStops();
    if (this.#state.status === 'paused' && number === SIGKILL) await this.unpause();
    this.tell('kill', { signal: String(number) });
    const ended = this.nextExit();
    await run.signal(number);
    if (number === SIGKILL) await ended;
  }

  /** Asks the process to end, and makes it. Resolves when the container has ended. */
  async stop(
    timeoutS = this.#config.stopTimeoutS ?? STOP_TIMEOUT_S,
    signal?: string,
  ): Promise<void> {
    this.#userStops();
    const run = this.#run;
    const ended = this.nextExit();
    if (run === undefined) {
      // It is being started, or waits for its restart.
      await ended;
      return;
    }
    if (this.#state.status === 'paused') await this.unpause();
    const number = parseSignal(signal ?? this.#config.stopSignal);
    this.tell('kill', { signal: String(number) });
    await run.signal(number);
    const timer = new AbortController();
    const inTime =
      timeoutS < 0 ? ended : Promise.race([ended, sleep(timeoutS * 1000, 'late', timer)]);
    if ((await inTime) === 'late') {
      this.tell('kill', { signal: String(SIGKILL) });
      await run.signal(SIGKILL);
      await ended;
    }
    timer.abort();
    this.tell('stop');
  }

  /** The host ends: the container is stopped, and its restart policy starts it again some day. */
  async end(): Promise<void> {
    const { stoppedByUser } = this.#state;
    const stopped = this.stop();
    if (!stoppedByUser) this.#change({ stoppedByUser: false });
    await stopped;
  }

  async pause(): Promise<void> {
    const run = this.#running();
    if (this.#state.status === 'paused') {
      throw new TsvmError('container-conflict', `Container ${this.#config.id} is already paused`);
    }
    await run.machine.pause();
    this.#change({ status: 'paused' });
    this.tell('pause');
  }

  async unpause(): Promise<void> {
    const run = this.#running();
    if (this.#state.status !== 'paused') {
      throw new TsvmError('container-conflict', `Container ${this.#config.id} is not paused`);
    }
    run.machine.resume();
    this.#change({ status: 'running' });
    this.tell('unpause');
    try {
      await run.machine.agent.setClock();
    } catch (error) {
      this.#logger.warn(`the clock of the guest cannot be set: ${errorText(error)}`);
    }
  }

  /** Joins another network. @throws TsvmError, AgentError; nothing has changed then */
  async connect(endpoint: EndpointSettings): Promise<void> {
    await this.#networks().connect(endpoint);
    await this.#changeNetworks((settings) => withEndpoint(settings, endpoint));
  }

  /** Leaves a network. @throws TsvmError, AgentError */
  async disconnect(network: NetworkRecord): Promise<void> {
    await this.#networks().disconnect(network.id);
    await this.#changeNetworks((settings) => withoutEndpoint(settings, network));
  }

  /** Another command has changed the container's settings. */
  async reload(): Promise<void> {
    await this.#starting;
    const { limits, name } = this.#config;
    this.#config = this.#store.read(this.#config.id)?.config ?? this.#config;
    const machine = this.#run?.machine;
    if (machine === undefined) return;
    if (this.#config.name !== name) {
      machine.networks?.rename(this.#config.name);
      this.#change({ facts: machine.facts });
    }
    if (!isDeepStrictEqual(this.#config.limits, limits)) {
      await machine.agent.updateLimits(this.#config.limits);
    }
  }

  /** Resolves with the exit code at the next end of the container's process. */
  nextExit(): Promise<number> {
    return new Promise((resolve) => this.#exitWaiters.push(resolve));
  }

  /** Resolves with the exit code when the container has been removed; never if it is not to be. */
  get removed(): Promise<number> {
    return this.#removal.promise;
  }

  async #runOnce(startMs: number, onStarted: () => void): Promise<RunEnd> {
    const status = this.#state.status === 'restarting' ? 'restarting' : 'starting';
    this.#change({ status, pid: process.pid, startedMs: startMs });
    const starting = Promise.withResolvers<void>();
    this.#starting = starting.promise;
    let machine: ContainerMachine | undefined;
    try {
      machine = await this.#startMachine(this.#config);
      const run = await ContainerRun.start(this.#config, machine, this.#streams, this.#size);
      this.#run = run;
      this.#change({
        status: 'running',
        guestPid: run.process.id,
        startedMs: Date.now(),
        finishedMs: 0,
        exitCode: 0,
        error: '',
        oomKilled: false,
        stoppedByUser: this.#stopping.signal.aborted,
        facts: machine.facts,
      });
      this.tell('start');
      onStarted();
      this.#watchHealth(machine);
      starting.resolve();
      // It was stopped while it started.
      if (this.#stopping.signal.aborted) await run.signal(SIGKILL);
      return await run.ended;
    } finally {
      starting.resolve();
      this.#health?.stop();
      this.#run = undefined;
      if (machine !== undefined) await this.#end(machine);
    }
  }

  /** Whoever waits for the end need not wait for memory that only a removed container had. */
  async #end(machine: ContainerMachine): Promise<void> {
    const keep = !this.#config.autoRemove;
    const close = () =>
      machine.close(keep).catch((error: unknown) => this.#logger.error(errorText(error)));
    if (keep || holdsOfHost(this.#config)) {
      await close();
      return;
    }
    machine.stop();
    this.#closeLast = close;
  }

  /** Stores and tells the end of a run. @returns whether there is another */
  async #restartsAfter(end: RunEnd, delayMs: number): Promise<boolean> {
    const { exitCode } = end;
    this.#log.end();
    const { restartCount } = this.#state;
    const stoppedByUser = this.#stopping.signal.aborted;
    const again = restarts(this.#config.restart, { exitCode, restartCount, stoppedByUser });
    this.#change({
      ...end,
      status: again ? 'restarting' : 'exited',
      guestPid: 0,
      finishedMs: Date.now(),
      ...(again ? { restartCount: restartCount + 1 } : { pid: 0, facts: {} }),
    });
    this.#store.recordExit(this.#config.id, this.#state);
    this.tell('die', { exitCode: String(exitCode) });
    this.#tellExit(exitCode);
    if (!again) {
      await this.#finish(exitCode);
      return false;
    }
    this.#streams = new ProcessStreams(this.#log);
    await sleep(delayMs, undefined, { signal: this.#stopping.signal }).catch(() => {});
    if (!this.#stopping.signal.aborted) return true;
    this.#change({ status: 'exited', pid: 0, facts: {} });
    await this.#finish(exitCode);
    return false;
  }

  async #failed({ exitCode, message }: StartFailure): Promise<void> {
    this.#change({
      status: this.#state.startedMs > 0 && this.#state.finishedMs > 0 ? 'exited' : 'created',
      pid: 0,
      guestPid: 0,
      startedMs: 0,
      exitCode,
      error: message,
      facts: {},
    });
    this.#store.recordExit(this.#config.id, { ...this.#state, finishedMs: Date.now() });
    for (const client of this.#clients) client.send({ type: 'failed', exitCode, message });
    await this.#finish(exitCode);
  }

  #tellExit(exitCode: number): void {
    for (const client of this.#clients) client.send({ type: 'exited', exitCode });
    for (const resolve of this.#exitWaiters.splice(0)) resolve(exitCode);
    if (this.#config.autoRemove) return;
    for (const client of this.#clients) client.end();
    this.#clients.clear();
  }

  /** The container has ended for good. */
  async #finish(exitCode: number): Promise<void> {
    this.#log.close();
    for (const resolve of this.#exitWaiters.splice(0)) resolve(exitCode);
    if (this.#config.autoRemove) {
      try {
        await this.#store.remove(this.#config.id);
        removeAnonymousVolumes(this.#config.mounts);
        this.tell('destroy');
      } catch (error) {
        // The next command completes it.
        this.#logger.error(errorText(error));
      }
      for (const client of this.#clients) client.send({ type: 'removed', exitCode });
      this.#removal.resolve(exitCode);
    }
    for (const client of this.#clients) client.end();
    this.#clients.clear();
  }

  #networks(): RunningNetworks {
    if (this.#state.status === 'paused') {
      throw new TsvmError('container-conflict', `Container ${this.#config.id} is paused`);
    }
    const { networks } = this.#running().machine;
    if (networks !== undefined) return networks;
    throw new TsvmError(
      'container-conflict',
      'container cannot be connected to multiple networks with one of the networks in private (none) mode',
    );
  }

  async #changeNetworks(change: (settings: NetworkSettings) => NetworkSettings): Promise<void> {
    this.#config = await this.#store.updateConfig(this.#config.id, (config) => ({
      ...config,
      network: change(config.network),
    }));
    this.#change({ facts: this.machine.facts });
  }

  #userStops(): void {
    this.#stopping.abort();
    if (this.#state.status !== 'exited') this.#change({ stoppedByUser: true });
  }

  #watchHealth({ agent }: ContainerMachine): void {
    const { healthCheck } = this.#config;
    if (healthCheck === undefined) return;
    this.#health = new HealthMonitor(agent, this.#config, healthCheck, (health) => {
      const before = this.#state.health?.status;
      this.#change({ health });
      if (health.status !== before) this.tell(`health_status: ${health.status}`);
    });
    this.#change({ health: this.#health.state });
    this.#health.start();
  }

  #openLog(): LogWriter {
    return new LogWriter(this.#store.folders.log(this.#config.id), this.#config.log, (error) =>
      this.#logger.error(`its output is lost: ${errorText(error)}`),
    );
  }

  #running(): ContainerRun {
    if (this.#run !== undefined) return this.#run;
    throw new TsvmError('container-conflict', `container ${this.#config.id} is not running`);
  }

  #change(change: Partial<ContainerState>): void {
    this.#state = { ...this.#state, ...change };
    this.#store.keepState(this.#config.id, this.#state);
  }
}
