import type { Duplex, Readable } from 'node:stream';
import type { VsockPorts } from '../../backends/vsock/vsock-ports.ts';
import { randomBytes } from '../../host/random.ts';
import {
  AGENT_PORT,
  type Agent,
  type AgentEvent,
  type ContainerLimits,
  type ContainerRoot,
  type ContainerStats,
  type GuestProcess,
  type NamedInterface,
  type NameSettings,
  type PathChange,
  type PathStat,
  type ProcessRow,
  type ProcessSpec,
  type TerminalSize,
  type WriteArchiveOptions,
} from './agent.ts';
import { ControlConnection } from './control-connection.ts';
import { Fields } from './frame-writer.ts';
import { lost } from './guest-connection.ts';
import { startOn } from './process-connection.ts';
import { CLOCK, FRAME, RESIZE, RESTORED, SIGNAL } from './protocol.ts';
import { changesOf, pathStatOf, processOf, statsOf } from './replies.ts';
import {
  limitsFields,
  linkFields,
  pathFields,
  processFields,
  rootFields,
  writeArchiveFields,
} from './requests.ts';
import { askOn, listOn, readOn, type Task, writeOn } from './task-connection.ts';

/** How long the agent may take for an answer. Minutes, because emulated hosts are slow. */
const ANSWER_TIMEOUT_MS = 120_000;
/** Linux has at most 2^22 processes; a list this long is none. */
const PROCESSES_MAX = 65_536;

/** Linux draws as much from its sources. */
const SEED_BYTES = 64;

export interface ConnectAgentOptions {
  /** Aborts the wait for the agent's hello. */
  readonly signal?: AbortSignal | undefined;
  /** How long the agent may take for an answer, in ms. */
  readonly answerTimeoutMs?: number | undefined;
}

/**
 * Waits for the agent of a machine whose initrd it is. Call this before the machine starts, and abort
 * when the machine ends: only then is it known that the agent will not come.
 * @throws AgentError `agent-lost` if what connects is no agent of this version
 */
export async function connectAgent(
  vsock: VsockPorts,
  options: ConnectAgentOptions = {},
): Promise<Agent> {
  const { signal, answerTimeoutMs = ANSWER_TIMEOUT_MS } = options;
  signal?.throwIfAborted();
  const arrived = Promise.withResolvers<Duplex>();
  const unlisten = vsock.listen(AGENT_PORT, arrived.resolve);
  const abort = () => arrived.reject(signal?.reason);
  signal?.addEventListener('abort', abort);
  try {
    const stream = await arrived.promise;
    // Only the first program of the guest can be the first to connect.
    unlisten();
    const agent = new VsockAgent(vsock, stream, answerTimeoutMs);
    await agent.greeted;
    return agent;
  } finally {
    unlisten();
    signal?.removeEventListener('abort', abort);
  }
}

class VsockAgent implements Agent {
  readonly greeted: Promise<unknown>;
  readonly #vsock: VsockPorts;
  readonly #control: ControlConnection;
  readonly #timeoutMs: number;
  readonly #listeners = new Set<(event: AgentEvent) => void>();

  constructor(vsock: VsockPorts, stream: Duplex, timeoutMs: number) {
    this.#vsock = vsock;
    this.#timeoutMs = timeoutMs;
    this.#control = new ControlConnection(stream, timeoutMs, (event) => {
      for (const listener of this.#listeners) listener(event);
    });
    this.greeted = this.#control.hello.promise;
  }

  async prepare(): Promise<void> {
    await this.#control.request(FRAME.PREPARE);
  }

  async renew(): Promise<void> {
    const seed = new Fields().bytes(RESTORED.SEED, randomBytes(SEED_BYTES));
    await Promise.all([this.setClock(), this.#control.request(FRAME.RESTORED, seed)]);
  }

  async assemble(root: ContainerRoot): Promise<void> {
    await this.#control.request(FRAME.ASSEMBLE, rootFields(root));
  }

  async startProcess(spec: ProcessSpec): Promise<GuestProcess> {
    const request = processFields(spec);
    return startOn(await this.#connect(), request, {
      stdin: spec.stdin === true,
      terminal: spec.terminal !== undefined,
      timeoutMs: this.#timeoutMs,
    });
  }

  async signal(process: GuestProcess, signal: number): Promise<void> {
    const fields = new Fields().number(SIGNAL.PROCESS, process.id).number(SIGNAL.NUMBER, signal);
    await this.#control.request(FRAME.SIGNAL, fields);
  }

  async resize(process: GuestProcess, { columns, rows }: TerminalSize): Promise<void> {
    const fields = new Fields()
      .number(RESIZE.PROCESS, process.id)
      .number(RESIZE.COLUMNS, columns)
      .number(RESIZE.ROWS, rows);
    await this.#control.request(FRAME.RESIZE, fields);
  }

  async processes(): Promise<ProcessRow[]> {
    const rows = await listOn(await this.#task(FRAME.PROCESSES), PROCESSES_MAX);
    return rows.map(processOf);
  }

  async stats(): Promise<ContainerStats> {
    return statsOf(await this.#control.request(FRAME.STATS));
  }

  async readArchive(path: string): Promise<Readable> {
    return readOn(await this.#task(FRAME.READ_ARCHIVE, pathFields(path)));
  }

  async writeArchive(
    path: string,
    archive: Readable,
    options: WriteArchiveOptions = {},
  ): Promise<void> {
    const fields = writeArchiveFields(path, options);
    await writeOn(await this.#task(FRAME.WRITE_ARCHIVE, fields), archive);
  }

  async pathStat(path: string): Promise<PathStat> {
    return pathStatOf(await askOn(await this.#task(FRAME.PATH_STAT, pathFields(path))));
  }

  async changes(): Promise<PathChange[]> {
    return changesOf(await readOn(await this.#task(FRAME.CHANGES)));
  }

  async upperArchive(): Promise<Readable> {
    return readOn(await this.#task(FRAME.UPPER_ARCHIVE));
  }

  async rootArchive(): Promise<Readable> {
    return readOn(await this.#task(FRAME.ROOT_ARCHIVE));
  }

  async updateLimits(limits: ContainerLimits): Promise<void> {
    await this.#control.request(FRAME.LIMITS, limitsFields(limits));
  }

  async attachInterface(link: NamedInterface, names: NameSettings): Promise<void> {
    await this.#control.request(FRAME.ATTACH_INTERFACE, linkFields(link, names));
  }

  async detachInterface(link: NamedInterface, names: NameSettings): Promise<void> {
    await this.#control.request(FRAME.DETACH_INTERFACE, linkFields(link, names));
  }

  async freeze(): Promise<void> {
    await this.#control.request(FRAME.FREEZE);
  }

  async thaw(): Promise<void> {
    await this.#control.request(FRAME.THAW);
  }

  async setClock(): Promise<void> {
    const now = Date.now();
    const fields = new Fields()
      .number(CLOCK.SECONDS, Math.floor(now / 1000))
      .number(CLOCK.NANOSECONDS, (now % 1000) * 1_000_000);
    await this.#control.request(FRAME.CLOCK, fields);
  }

  async trim(): Promise<void> {
    await askOn(await this.#task(FRAME.TRIM));
  }

  onEvent(listener: (event: AgentEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async shutdown(): Promise<void> {
    this.#control.expectEnd();
    await this.#control.request(FRAME.SHUTDOWN);
  }

  async #task(type: number, fields = new Fields()): Promise<Task> {
    return { stream: await this.#connect(), type, fields, timeoutMs: this.#timeoutMs };
  }

  async #connect(): Promise<Duplex> {
    const signal = AbortSignal.timeout(this.#timeoutMs);
    try {
      return await this.#vsock.connect(AGENT_PORT, { signal });
    } catch (error) {
      throw lost(`cannot connect to the guest agent: ${(error as Error).message}`);
    }
  }
}
