/** What the guest's answers say. All of it is checked, none of it is trusted. */
import type { Readable } from 'node:stream';
import type { ContainerStats, PathChange, PathStat, ProcessRow } from './agent.ts';
import { FieldReader } from './field-reader.ts';
import { lost } from './guest-connection.ts';
import { PATH_STAT, PROCESS, STATS, STATS_INTERFACE } from './protocol.ts';

/** Longest list of changed paths, in bytes. */
const CHANGES_BYTES_MAX = 256 * 2 ** 20;
const INTERFACES_MAX = 64;
const CHANGE_KINDS: Readonly<Record<string, PathChange['kind']>> = {
  A: 'added',
  C: 'changed',
  D: 'deleted',
};
const NANOSECONDS_PER_MS = 1_000_000n;

const milliseconds = (micros: number) => micros / 1000;

export function statsOf(fields: FieldReader): ContainerStats {
  const interfaces = fields.list(STATS.INTERFACE);
  if (interfaces.length > INTERFACES_MAX) throw lost('the guest agent sent too many interfaces');
  return {
    uptimeMs: milliseconds(fields.number(STATS.UPTIME_US)),
    cpuMs: milliseconds(fields.number(STATS.CPU_US)),
    cpuUserMs: milliseconds(fields.number(STATS.CPU_USER_US)),
    cpuSystemMs: milliseconds(fields.number(STATS.CPU_SYSTEM_US)),
    throttledMs: milliseconds(fields.number(STATS.THROTTLED_US)),
    onlineCpus: fields.number(STATS.ONLINE_CPUS),
    memoryBytes: fields.number(STATS.MEMORY_BYTES),
    memoryLimitBytes: fields.number(STATS.MEMORY_LIMIT_BYTES),
    pids: fields.number(STATS.PIDS),
    pidsLimit: fields.optionalNumber(STATS.PIDS_LIMIT),
    blockReadBytes: fields.number(STATS.BLOCK_READ_BYTES),
    blockWriteBytes: fields.number(STATS.BLOCK_WRITE_BYTES),
    oomKills: fields.number(STATS.OOM_KILLS),
    interfaces: interfaces.map((payload) => {
      const counters = new FieldReader(payload);
      return {
        name: counters.text(STATS_INTERFACE.NAME),
        receivedBytes: counters.number(STATS_INTERFACE.RECEIVED_BYTES),
        receivedPackets: counters.number(STATS_INTERFACE.RECEIVED_PACKETS),
        sentBytes: counters.number(STATS_INTERFACE.SENT_BYTES),
        sentPackets: counters.number(STATS_INTERFACE.SENT_PACKETS),
      };
    }),
  };
}

export function processOf(fields: FieldReader): ProcessRow {
  const args = fields.bytes(PROCESS.ARGUMENTS) ?? Buffer.alloc(0);
  const end = args.at(-1) === 0 ? args.length - 1 : args.length;
  return {
    pid: fields.number(PROCESS.PID),
    parentPid: fields.number(PROCESS.PARENT),
    userId: fields.number(PROCESS.USER_ID),
    user: fields.text(PROCESS.USER),
    state: fields.text(PROCESS.STATE),
    terminal: fields.number(PROCESS.TERMINAL),
    startedMs: fields.number(PROCESS.STARTED_MS),
    cpuMs: fields.number(PROCESS.CPU_MS),
    residentBytes: fields.number(PROCESS.RESIDENT_BYTES),
    virtualBytes: fields.number(PROCESS.VIRTUAL_BYTES),
    args: args.toString('utf8', 0, end).split('\0'),
  };
}

export function pathStatOf(fields: FieldReader): PathStat {
  const nanoseconds = fields.bytes(PATH_STAT.MODIFIED_NS);
  if (nanoseconds?.length !== 8) throw lost('the guest agent sent no time of a path');
  return {
    name: fields.text(PATH_STAT.NAME),
    sizeBytes: fields.number(PATH_STAT.SIZE),
    mode: fields.number(PATH_STAT.MODE),
    modifiedMs: Number(nanoseconds.readBigInt64LE() / NANOSECONDS_PER_MS),
    userId: fields.number(PATH_STAT.USER_ID),
    groupId: fields.number(PATH_STAT.GROUP_ID),
    linkTarget: fields.text(PATH_STAT.LINK_TARGET),
  };
}

/** @throws AgentError `agent-lost` */
export async function changesOf(stream: Readable): Promise<PathChange[]> {
  const changes: PathChange[] = [];
  let rest = Buffer.alloc(0);
  let total = 0;
  for await (const chunk of stream) {
    total += (chunk as Buffer).length;
    if (total > CHANGES_BYTES_MAX) throw lost('the guest agent sent too many changes');
    rest = Buffer.concat([rest, chunk as Buffer]);
    let start = 0;
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0, start)) {
      changes.push(changeOf(rest.toString('utf8', start, end)));
      start = end + 1;
    }
    rest = rest.subarray(start);
  }
  if (rest.length > 0) throw lost('the guest agent sent a change that is cut off');
  return changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

function changeOf(text: string): PathChange {
  const kind = CHANGE_KINDS[text.slice(0, 1)];
  const path = text.slice(1);
  const isClean = path.startsWith('/') && !path.split('/').includes('..');
  if (kind === undefined || !isClean) throw lost('the guest agent sent no change of a path');
  return { kind, path };
}
