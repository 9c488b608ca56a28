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

/**
 * Creates a tap device that is a port of an existing bridge. It disappears when its descriptor, which
 * is non-blocking, is closed.
 * @param namespacePid a process in whose user and network namespaces the bridge is; 0: in our own
 * @throws NativeError `ENODEV` (no such bridge), `ESRCH` (no such process), `EPERM`, `EBUSY` (the name
 * is taken), `EOPNOTSUPP` (this host has no tap devices), …
 */
export function openBridgeTap(name: string, bridge: string, namespacePid: number): number {
  return loadAddon().openBridgeTap(name, bridge, namespacePid);
}
