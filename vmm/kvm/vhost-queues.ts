import type { NativeVhostQueues } from '../../kvm-addon/index.d.ts';
import { loadAddon } from '../host/addon.ts';

/**
 * Creates the shadow rings of a device that another process serves.
 * @param options.threadName of the worker, at most 15 bytes
 */
export function createVhostQueues(options: {
  readonly threadName: string;
  readonly queueCount: number;
  readonly queueSize: number;
  readonly ringsAddress: number;
}): NativeVhostQueues {
  const { NativeVhostQueues } = loadAddon();
  return new NativeVhostQueues(options);
}
