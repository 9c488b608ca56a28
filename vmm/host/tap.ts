import { loadAddon } from './addon.ts';

/**
 * Opens a queue of an existing tap device, with virtio-net headers, non-blocking.
 * @param multiQueue the device was created with `multi_queue`: each call opens another queue
 * @throws NativeError `ENODEV`, `EBUSY`, `EPERM`, `EINVAL` (no tap device, or one with another setting
 * of `multi_queue`), `EOPNOTSUPP` (this host has no tap devices), …
 */
export function openTapQueue(name: string, multiQueue: boolean): number {
  return loadAddon().openTap(name, multiQueue);
}
