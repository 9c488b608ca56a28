/**
 * The numbers of the agent's protocol, which `guest-images/agent/protocol.h` describes. A test compares
 * the two files.
 */
import type { AgentErrorCode } from './agent.ts';

export const PROTOCOL_VERSION = 2;

/** Longest payload that the host accepts of a frame, and that it sends in one of data, in bytes. */
export const DATA_BYTES_MAX = 256 * 1024;
/** A disk of this size keeps the place of another, which a restored machine gets. */
export const PLACEHOLDER_BYTES = 512;
/** Of the folder `upper` of a writable disk that no container has had; it has an empty `work` as well. */
export const UPPER_UNUSED_MODE = 0o1500;
export const FRAME_HEADER_BYTES = 5;
export const FIELD_HEADER_BYTES = 5;
/** Longest list of fields that the host accepts of the guest. */
export const REPLY_BYTES_MAX = 256 * 1024;

export const FRAME = {
  HELLO: 1,
  REPLY: 2,
  ERROR: 3,
  EVENT: 4,
  ASSEMBLE: 16,
  SIGNAL: 17,
  RESIZE: 18,
  STATS: 19,
  LIMITS: 20,
  CLOCK: 21,
  SHUTDOWN: 22,
  FREEZE: 23,
  THAW: 24,
  PREPARE: 25,
  RESTORED: 26,
  ATTACH_INTERFACE: 27,
  DETACH_INTERFACE: 28,
  START: 32,
  PROCESSES: 33,
  PATH_STAT: 34,
  READ_ARCHIVE: 35,
  WRITE_ARCHIVE: 36,
  CHANGES: 37,
  UPPER_ARCHIVE: 38,
  ROOT_ARCHIVE: 39,
  TRIM: 40,
  STDIN: 48,
  STDOUT: 49,
  STDERR: 50,
  EXIT: 51,
  DATA: 52,
} as const;

export const ERROR = { CODE: 1, ERRNO: 2, TEXT: 3 } as const;

/** Values of {@link ERROR.CODE}. */
export const ERROR_CODES: Readonly<Record<number, AgentErrorCode>> = {
  1: 'program-not-found',
  2: 'program-not-executable',
  3: 'no-working-directory',
  4: 'no-such-user',
  5: 'no-such-group',
  6: 'path-not-found',
  7: 'wrong-path-type',
  8: 'process-ended',
  9: 'wrong-state',
  10: 'invalid-request',
  11: 'guest-failed',
};

export const HELLO = { VERSION: 1, UPTIME_US: 2 } as const;
export const EVENT = { KIND: 1, COUNT: 2 } as const;
export const EVENT_OOM = 1;

export const ROOT = {
  METADATA_BYTES: 1,
  WRITABLE_MEMORY: 2,
  READ_ONLY: 3,
  HOSTNAME: 4,
  DOMAINNAME: 5,
  HOSTS: 6,
  RESOLV_CONF: 7,
  MOUNT: 8,
  INTERFACE: 9,
  SYSCTL: 10,
  LIMITS: 11,
  SHM_BYTES: 12,
  PRIVILEGED: 13,
  INIT: 14,
  PUBLISHED_PORT: 15,
  NAMES: 16,
} as const;

export const MOUNT = {
  TYPE: 1,
  DESTINATION: 2,
  READ_ONLY: 3,
  SHARE_TAG: 4,
  SOURCE: 5,
  COPY_UP: 6,
  SIZE_BYTES: 7,
  MODE: 8,
  FLAGS: 9,
  PORT: 10,
  USER_ID: 11,
  GROUP_ID: 12,
  SIZE_PERCENT: 13,
  INODES: 14,
} as const;
export const MOUNT_TYPES = { share: 1, tmpfs: 2, socket: 3 } as const;

export const INTERFACE = {
  MAC: 1,
  NAME: 2,
  DHCP: 3,
  ADDRESS: 4,
  GATEWAY: 5,
  MTU: 6,
  DEVICE_MAC: 7,
} as const;

export const LINK = { INTERFACE: 1, RESOLV_CONF: 2, NAMES: 3 } as const;

export const NAMES = { SERVER: 1 } as const;

export const LIMITS = {
  MEMORY_BYTES: 1,
  CPU_MICROS: 2,
  CPU_WEIGHT: 3,
  CPUSET: 4,
  PIDS: 5,
} as const;

export const START = {
  IN_GUEST: 1,
  ARGUMENT: 2,
  VARIABLE: 3,
  DIRECTORY: 4,
  USER: 5,
  GROUP: 6,
  COLUMNS: 7,
  ROWS: 8,
  STDIN: 9,
  CAPABILITIES: 10,
  NO_NEW_PRIVILEGES: 11,
  SECCOMP: 12,
  RESOURCE_LIMIT: 13,
  OOM_SCORE_ADJUST: 14,
  SECCOMP_FILTER: 15,
} as const;
export const STARTED = { PROCESS: 1 } as const;
export const EXIT = { CODE: 1, SIGNAL: 2 } as const;
export const SIGNAL = { PROCESS: 1, NUMBER: 2 } as const;
export const RESIZE = { PROCESS: 1, COLUMNS: 2, ROWS: 3 } as const;

export const STATS = {
  UPTIME_US: 1,
  CPU_US: 2,
  CPU_USER_US: 3,
  CPU_SYSTEM_US: 4,
  THROTTLED_US: 5,
  ONLINE_CPUS: 6,
  MEMORY_BYTES: 7,
  MEMORY_LIMIT_BYTES: 8,
  PIDS: 9,
  PIDS_LIMIT: 10,
  BLOCK_READ_BYTES: 11,
  BLOCK_WRITE_BYTES: 12,
  OOM_KILLS: 13,
  INTERFACE: 14,
} as const;
export const STATS_INTERFACE = {
  NAME: 1,
  RECEIVED_BYTES: 2,
  RECEIVED_PACKETS: 3,
  SENT_BYTES: 4,
  SENT_PACKETS: 5,
} as const;

export const RESTORED = { SEED: 1 } as const;
export const CLOCK = { SECONDS: 1, NANOSECONDS: 2 } as const;

export const PATH = { PATH: 1, NO_OVERWRITE_DIRECTORY: 2, KEEP_OWNERS: 3 } as const;
export const PATH_STAT = {
  NAME: 1,
  SIZE: 2,
  MODE: 3,
  MODIFIED_NS: 4,
  USER_ID: 5,
  GROUP_ID: 6,
  LINK_TARGET: 7,
} as const;

export const PROCESS = {
  PID: 1,
  PARENT: 2,
  USER_ID: 3,
  USER: 4,
  STATE: 5,
  TERMINAL: 6,
  STARTED_MS: 7,
  CPU_MS: 8,
  RESIDENT_BYTES: 9,
  VIRTUAL_BYTES: 10,
  ARGUMENTS: 11,
} as const;
