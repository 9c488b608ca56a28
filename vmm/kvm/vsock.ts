import type { NativeVsock } from '../../kvm-addon/index.d.ts';
import { loadAddon } from '../host/addon.ts';

/** Creates the connections of a socket device. `onAccepted`: there are some to take. */
export function createNativeVsock(options: {
  readonly guestCid: number;
  /** Of the socket files; empty for none. */
  readonly path: string;
  /** Listens at `path`; null without a path. */
  readonly listener: number | null;
  readonly onAccepted: () => void;
}): NativeVsock {
  const { NativeVsock } = loadAddon();
  return new NativeVsock(options);
}
