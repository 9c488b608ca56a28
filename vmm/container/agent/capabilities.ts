import { TsvmError } from '../../errors.ts';

/** Names by number, without `CAP_`: linux/capability.h. */
const NAMES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
];

/** What Docker gives containers. */
const DEFAULTS = [
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
];

const ALL = 'ALL';

/** `ALL`, or a name without its prefix. @throws TsvmError `container-conflict` */
function normalize(name: string, option: string): string {
  const upper = name.toUpperCase();
  const short = upper.startsWith('CAP_') ? upper.slice(4) : upper;
  if (short === ALL || NAMES.includes(short)) return short;
  throw new TsvmError(
    'container-conflict',
    `invalid ${option}: unknown capability: "CAP_${short}"`,
  );
}

function mask(names: Iterable<string>): bigint {
  let bits = 0n;
  for (const name of names) bits |= 1n << BigInt(NAMES.indexOf(name));
  return bits;
}

/** The names in a mask of {@link capabilityMask}, with `CAP_`. */
export function capabilityNames(bits: bigint): Set<string> {
  const names = NAMES.filter((_, number) => ((bits >> BigInt(number)) & 1n) === 1n);
  return new Set(names.map((name) => `CAP_${name}`));
}

/**
 * The capabilities of a process, as a bit mask, by Docker's rules for `--cap-add`, `--cap-drop` and
 * `--privileged`.
 * @throws TsvmError `container-conflict` for a name that is none
 */
export function capabilityMask(options: {
  readonly privileged?: boolean | undefined;
  readonly capAdd?: readonly string[] | undefined;
  readonly capDrop?: readonly string[] | undefined;
}): bigint {
  const add = (options.capAdd ?? []).map((name) => normalize(name, 'CapAdd'));
  const drop = (options.capDrop ?? []).map((name) => normalize(name, 'CapDrop'));
  const everything = mask(NAMES);
  if (options.privileged === true) return everything;
  const added = mask(add.filter((name) => name !== ALL));
  const dropped = mask(drop.filter((name) => name !== ALL));
  if (add.includes(ALL)) return everything & ~dropped;
  if (drop.includes(ALL)) return added;
  return (mask(DEFAULTS) & ~dropped) | added;
}
