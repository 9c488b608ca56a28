import { loadAddon } from './addon.ts';

/** True when this process may use io_uring. */
export function hasIoUring(): boolean {
  return loadAddon().probeIoUring();
}
