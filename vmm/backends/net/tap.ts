import { closeSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { openBridgeTap, openTapQueue } from '../../host/tap.ts';
import { hasCode } from '../../util/error-code.ts';

/** Why a tap device cannot be opened and what to do about it, by error code. */
const ADVICE: Readonly<Record<string, (name: string, queues: number) => string>> = {
  ENODEV: (name, queues) =>
    `there is no network interface ${name}. As root: ${creation(name, queues)}`,
  EBUSY: (name) => `the tap device ${name} is in use by another process`,
  EPERM: (name) =>
    `the tap device ${name} belongs to another user. As root: ip tuntap del ${name} mode tap, then create it again with "user $USER"`,
  EINVAL: (name, queues) =>
    `${name} is no tap device${queues > 1 ? ' of several queues' : ', or one of several queues (use queues=N)'}. As root: ${creation(name, queues)}`,
  EOPNOTSUPP: () => 'this host has no /dev/net/tun. As root: modprobe tun',
  EACCES: () => '/dev/net/tun may not be opened. As root: chmod 0666 /dev/net/tun',
};

function creation(name: string, queues: number): string {
  const multiQueue = queues > 1 ? ' multi_queue' : '';
  return `ip tuntap add ${name} mode tap${multiQueue} user $USER && ip link set ${name} up`;
}

/** A bridge of the host. */
export interface Bridge {
  readonly name: string;
  /** A process in whose user and network namespaces it is; left out: in those of tsvm. */
  readonly namespacePid?: number | undefined;
}

/**
 * Creates a tap device for as long as its descriptor is open, as a port of a bridge.
 * @returns the descriptor, non-blocking
 * @throws TsvmError `network-unavailable`
 */
export function openBridgePort(name: string, bridge: Bridge): number {
  try {
    return openBridgeTap(name, bridge.name, bridge.namespacePid ?? 0);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const code = ['EACCES', 'EOPNOTSUPP'].find((known) => hasCode(cause, known));
    const advice = ADVICE[code ?? '']?.(name, 1);
    const message = hasCode(cause, 'ENODEV', 'ESRCH')
      ? `there is no bridge ${bridge.name}`
      : `the bridge ${bridge.name} takes no tap device: ${reason}`;
    throw new TsvmError('network-unavailable', advice ?? message, { cause });
  }
}

/**
 * Opens `queues` queues of a tap device that the user has created.
 * @returns their descriptors, non-blocking
 * @throws TsvmError `network-unavailable`
 */
export function openTap(name: string, queues: number): number[] {
  const fds: number[] = [];
  try {
    for (let i = 0; i < queues; i++) fds.push(openTapQueue(name, queues > 1));
    return fds;
  } catch (cause) {
    for (const fd of fds) closeSync(fd);
    const code = Object.keys(ADVICE).find((known) => hasCode(cause, known));
    const advice = ADVICE[code ?? '']?.(name, queues);
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TsvmError(
      'network-unavailable',
      advice ?? `the tap device ${name} cannot be opened: ${reason}`,
      { cause },
    );
  }
}
