import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../../errors.ts';
import { AgentError, type GuestProcess, type TerminalSize } from '../agent/agent.ts';
import type { ContainerConfig } from './container-config.ts';
import type { ContainerMachine } from './container-machine.ts';
import type { ProcessStreams } from './container-streams.ts';
import { mainProcess } from './process-specs.ts';

/** The end of a container's process. */
export interface RunEnd {
  /** 128 + N for signal N. */
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** Empty unless its machine failed. */
  readonly error: string;
}

const SIGNAL_BASE = 128;
const SIGKILL = 9;
/** A guest that does not carry out a SIGKILL in this time has its machine stopped. */
const KILL_PATIENCE_MS = 5_000;
/** An agent that is gone while its process is not, connects again or ends its machine. */
const END_PATIENCE_MS = 2_000;
/** Time for what a process has left in its pipes. */
const DRAIN_PATIENCE_MS = 10_000;

/** One life of a container: its process in its machine. */
export class ContainerRun {
  readonly machine: ContainerMachine;
  readonly process: GuestProcess;
  /** Its output has been passed on, and then it has ended. Never rejects. */
  readonly ended: Promise<RunEnd>;
  #oomKilled = false;
  #killTimer: NodeJS.Timeout | undefined;

  private constructor(machine: ContainerMachine, process: GuestProcess, streams: ProcessStreams) {
    this.machine = machine;
    this.process = process;
    this.ended = this.#end(streams.connect(process));
    machine.agent.onEvent(({ type }) => {
      if (type === 'oom') this.#oomKilled = true;
    });
  }

  /** Starts the container's process. @throws AgentError; the machine is the caller's to close */
  static async start(
    config: ContainerConfig,
    machine: ContainerMachine,
    streams: ProcessStreams,
    size: TerminalSize,
  ): Promise<ContainerRun> {
    const process = await machine.agent.startProcess(mainProcess(config, size));
    return new ContainerRun(machine, process, streams);
  }

  /** Sends a signal; a SIGKILL ends the container whatever the guest does. */
  async signal(signal: number): Promise<void> {
    if (signal === SIGKILL) {
      this.#killTimer ??= setTimeout(() => {
        this.machine.close(false).catch(() => {});
      }, KILL_PATIENCE_MS);
    }
    try {
      await this.machine.agent.signal(this.process, signal);
    } catch (error) {
      if (!(error instanceof AgentError && error.code === 'agent-lost')) throw error;
      // The process has ended at this moment, and its machine with it.
      const end = await Promise.race([
        this.ended,
        sleep(END_PATIENCE_MS, undefined, { ref: false }),
      ]);
      if (end === undefined) throw error;
    }
  }

  async #end(drained: Promise<void>): Promise<RunEnd> {
    let exitCode: number;
    let error = '';
    try {
      const end = await this.process.ended;
      exitCode = 'exitCode' in end ? end.exitCode : SIGNAL_BASE + end.signal;
      // A guest may keep a stream open for ever.
      await Promise.race([drained, sleep(DRAIN_PATIENCE_MS, undefined, { ref: false })]);
    } catch (cause) {
      exitCode = SIGNAL_BASE + SIGKILL;
      if (this.#killTimer === undefined) error = `the machine failed: ${errorText(cause)}`;
    }
    clearTimeout(this.#killTimer);
    return { exitCode, oomKilled: this.#oomKilled, error };
  }
}
