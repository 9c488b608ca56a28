import type { NativeRateLimiter } from '../../kvm-addon/index.d.ts';
import { loadAddon } from '../host/addon.ts';

/** See `RateLimits` of the machine's configuration. */
interface Limits {
  readonly bytesPerSecond?: number | undefined;
  readonly burstBytes?: number | undefined;
  readonly operationsPerSecond?: number | undefined;
  readonly burstOperations?: number | undefined;
}

/** Limits how much queue workers let pass, all that have it together. */
export class KvmRateLimiter {
  readonly native: NativeRateLimiter;

  constructor(limits: Limits) {
    const { NativeRateLimiter } = loadAddon();
    this.native = new NativeRateLimiter();
    this.set(limits);
  }

  /** From now on, also for a worker that runs. */
  set(limits: Limits): void {
    const { bytesPerSecond = 0, burstBytes = 0 } = limits;
    const { operationsPerSecond = 0, burstOperations = 0 } = limits;
    this.native.set({ bytesPerSecond, burstBytes, operationsPerSecond, burstOperations });
  }
}
