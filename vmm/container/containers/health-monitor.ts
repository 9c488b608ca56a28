import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../../errors.ts';
import type { Agent } from '../agent/agent.ts';
import type { ContainerConfig, HealthCheck } from './container-config.ts';
import type { HealthResult, HealthState } from './container-state.ts';
import { execProcess } from './process-specs.ts';

const LOG_ENTRIES_MAX = 5;
const OUTPUT_MAX_BYTES = 4096;
const SIGKILL = 9;

/** Runs a container's health check in it, again and again. */
export class HealthMonitor {
  readonly #agent: Agent;
  readonly #config: ContainerConfig;
  readonly #check: HealthCheck;
  readonly #onResult: (state: HealthState) => void;
  readonly #stopped = new AbortController();
  #state: HealthState = { status: 'starting', failingStreak: 0, log: [] };

  constructor(
    agent: Agent,
    config: ContainerConfig,
    check: HealthCheck,
    onResult: (state: HealthState) => void,
  ) {
    this.#agent = agent;
    this.#config = config;
    this.#check = check;
    this.#onResult = onResult;
  }

  get state(): HealthState {
    return this.#state;
  }

  start(): void {
    this.#watch().catch(() => {});
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #watch(): Promise<void> {
    const { intervalMs, startIntervalMs, startPeriodMs } = this.#check;
    const startMs = Date.now();
    for (;;) {
      const isStarting = this.#state.status === 'starting' && Date.now() - startMs < startPeriodMs;
      const pauseMs = isStarting ? startIntervalMs : intervalMs;
      await sleep(pauseMs, undefined, { signal: this.#stopped.signal, ref: false });
      const result = await this.#probe();
      if (this.#stopped.signal.aborted) return;
      this.#take(result, Date.now() - startMs < startPeriodMs);
    }
  }

  #take(result: HealthResult, mayStillStart: boolean): void {
    const isHealthy = result.exitCode === 0;
    const ignored = !isHealthy && mayStillStart && this.#state.status === 'starting';
    const failingStreak = isHealthy || ignored ? 0 : this.#state.failingStreak + 1;
    let { status } = this.#state;
    if (isHealthy) status = 'healthy';
    else if (failingStreak >= this.#check.retries) status = 'unhealthy';
    const log = [...this.#state.log, result].slice(-LOG_ENTRIES_MAX);
    this.#state = { status, failingStreak, log };
    this.#onResult(this.#state);
  }

  async #probe(): Promise<HealthResult> {
    const startMs = Date.now();
    const result = (exitCode: number, output: string): HealthResult => ({
      startMs,
      endMs: Date.now(),
      exitCode,
      output,
    });
    const [kind, ...words] = this.#check.test;
    const args = kind === 'CMD-SHELL' ? ['/bin/sh', '-c', words.join(' ')] : words;
    try {
      const spec = execProcess(this.#config, { args });
      const process = await this.#agent.startProcess(spec);
      let output = '';
      const read = (bytes: Buffer) => {
        if (output.length < OUTPUT_MAX_BYTES) output += bytes.toString();
      };
      process.stdout.on('data', read);
      process.stderr?.on('data', read);
      const timer = new AbortController();
      const late = sleep(this.#check.timeoutMs, 'late' as const, {
        signal: timer.signal,
        ref: false,
      });
      const end = await Promise.race([process.ended, late]);
      timer.abort();
      late.catch(() => {});
      if (end === 'late') {
        await this.#agent.signal(process, SIGKILL);
        return result(-1, `Health check exceeded timeout (${this.#check.timeoutMs / 1000}s)`);
      }
      // What came together with the end waits to be passed on to the listeners.
      for (const stream of [process.stdout, process.stderr]) while (stream?.read()) {}
      const exitCode = 'exitCode' in end ? end.exitCode : 128 + end.signal;
      return result(exitCode, output.slice(0, OUTPUT_MAX_BYTES));
    } catch (error) {
      return result(-1, errorText(error));
    }
  }
}
