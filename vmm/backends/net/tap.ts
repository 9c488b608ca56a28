import { closeSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { openTapQueue } from '../../host/tap.ts';
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
  EACCES: () => '/dev/net/tun may not be opened: check its permissions',
};

function creation(name: string, queues: number): string {
  const multiQueue = queues > 1 ? ' multi_queue' : '';
  return `ip tuntap add ${name} mode tap${multiQueue} user $USER && ip link set ${name} up`;
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
