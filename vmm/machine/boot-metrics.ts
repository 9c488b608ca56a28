import type { KernelMode } from '../kvm/host.ts';
import type { MachineHandle } from './machine.ts';
import type { MachineMetrics } from './machine-metrics.ts';

/** A value that the guest wrote to the progress port, with the time. */
export interface ProgressStamp {
  readonly value: number;
  /** Milliseconds since the process started. */
  readonly atMs: number;
}

/** `performance.now()` would load `node:perf_hooks`, which takes a millisecond. */
function sinceStartMs(): number {
  return process.uptime() * 1000;
}

/** Times and counters of a run, for `--metrics`. All times count from the process's start. */
export class BootMetrics {
  readonly #stages: { stage: string; atMs: number }[] = [];
  readonly #stamps: ProgressStamp[] = [];
  #kernelMode: KernelMode | undefined;
  #machine: MachineMetrics = { vcpus: {}, devices: {} };

  /** Records what executes guest kernel code. */
  hostProbed(kernelMode: KernelMode): void {
    this.#kernelMode = kernelMode;
    this.stage('host-probed');
  }

  /** What executes guest kernel code; undefined until the host has been probed. */
  get kernelMode(): KernelMode | undefined {
    return this.#kernelMode;
  }

  /** Records that a step of the boot is complete. */
  stage(stage: string): void {
    this.#stages.push({ stage, atMs: sinceStartMs() });
  }

  /** @param timeMs CLOCK_MONOTONIC, like `process.hrtime` */
  stamp(value: number, timeMs: number): void {
    const sinceMs = Number(process.hrtime.bigint()) / 1e6 - timeMs;
    this.#stamps.push({ value, atMs: sinceStartMs() - sinceMs });
  }

  /** Records a machine's counters before it is closed. Those of the last machine are kept. */
  addMachine(machine: MachineHandle): void {
    this.stage('ended');
    this.#machine = machine.metrics();
  }

  /** The last machine's. */
  get machine(): MachineMetrics {
    return this.#machine;
  }

  toJson(): unknown {
    const { vcpus, devices } = this.#machine;
    const ofDevices = Object.entries(devices);
    const counters = ofDevices.map(([id, device]) => [id, device.counters]);
    const queues = ofDevices
      .filter(([, device]) => device.queues.length > 0)
      .map(([id, device]) => [id, device.queues]);
    return {
      kernelMode: this.#kernelMode,
      stages: this.#stages,
      progress: this.#stamps,
      counters: { vcpus, ...Object.fromEntries(counters) },
      queues: Object.fromEntries(queues),
    };
  }
}
