import { once } from '../util/once.ts';
import { loadAddon } from './addon.ts';

/** True when this process may use io_uring, also by the rings of {@link stockIoUring}. */
export const hasIoUring = once((): boolean => loadAddon().probeIoUring());

/**
 * Sets up rings for the workers of disks, after which this process needs, and gets, no more of them.
 * @param count workers at the same time; more, and those that start again many times, use threads
 */
export function stockIoUring(count: number): void {
  if (count > 0 && hasIoUring()) loadAddon().stockIoUring(count);
}
