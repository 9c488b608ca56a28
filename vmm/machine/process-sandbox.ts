import { confineProcess } from '../host/sandbox.ts';
import type { ResolvedConfig } from './config.ts';

/**
 * How far the sandbox of a machine reaches. `threads`: the filters of the machine's threads alone.
 * `process`: all threads, JavaScript's included.
 */
export type SandboxReach = 'off' | 'threads' | 'process';

/** What a sandbox is, and why it is no more. */
export interface SandboxState {
  readonly reach: SandboxReach;
  readonly reason?: string;
}

/** @param restarts the process boots the machine again when the guest resets */
export function sandboxOf(config: ResolvedConfig, restarts: boolean): SandboxState {
  if (!config.sandbox) return { reach: 'off' };
  if (restarts) {
    return { reach: 'threads', reason: 'a machine that restarts opens its files again' };
  }
  if (config.shares.length > 0) {
    return { reach: 'threads', reason: 'shared folders start virtiofsd for each driver' };
  }
  return { reach: 'process' };
}

/**
 * Confines this process, which runs no other machine, for good. Call it when the machine is assembled
 * and before it starts.
 * @throws TsvmError `sandbox-unavailable`
 */
export function enterSandbox(config: ResolvedConfig, { reach }: SandboxState): void {
  if (reach !== 'process') return;
  confineProcess({ connects: config.vsock?.socketPath !== undefined });
}
