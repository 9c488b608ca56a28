import type { ContainerStats, ProcessRow } from '../../container/agent/agent.ts';
import { TsvmError } from '../../errors.ts';
import { clientOf, openContainers, runningContainer } from './containers.ts';
import { type Verb, writeLine } from './verb.ts';

/** A process, and when it was started, in ms since the epoch. */
type TimedRow = ProcessRow & { readonly startMs: number };
type Column = readonly [heading: string, value: (row: TimedRow) => string];

const argsOf = ({ args }: TimedRow) => args.join(' ');
const commandOf = ({ args: [program = ''] }: TimedRow) => program.replace(/^.*\//, '');
const kib = (bytes: number) => String(Math.round(bytes / 1024));

/** ps(1)'s names of columns, their headings and values. */
const COLUMNS: Readonly<Record<string, Column>> = {
  args: ['COMMAND', argsOf],
  cmd: ['CMD', argsOf],
  comm: ['COMMAND', commandOf],
  etime: ['ELAPSED', ({ startMs }) => elapsed(Date.now() - startMs)],
  etimes: ['ELAPSED', ({ startMs }) => String(Math.max(0, seconds(Date.now() - startMs)))],
  euid: ['EUID', ({ userId }) => String(userId)],
  euser: ['EUSER', ({ user }) => user],
  pcpu: ['%CPU', (row) => cpuShare(row).toFixed(1)],
  pid: ['PID', ({ pid }) => String(pid)],
  ppid: ['PPID', ({ parentPid }) => String(parentPid)],
  rss: ['RSS', ({ residentBytes }) => kib(residentBytes)],
  start: ['STARTED', ({ startMs }) => new Date(startMs).toTimeString().slice(0, 8)],
  stat: ['STAT', ({ state }) => state],
  state: ['S', ({ state }) => state],
  stime: ['STIME', ({ startMs }) => startTime(startMs)],
  time: ['TIME', ({ cpuMs }) => clock(cpuMs)],
  tty: ['TT', ({ terminal }) => terminalName(terminal)],
  uid: ['UID', ({ userId }) => String(userId)],
  user: ['USER', ({ user }) => user],
  vsz: ['VSZ', ({ virtualBytes }) => kib(virtualBytes)],
};
/** Other names of the same columns, some with other headings. */
const ALIASES: Readonly<Record<string, readonly [name: string, heading?: string]>> = {
  '%cpu': ['pcpu'],
  command: ['args'],
  c: ['pcpu', 'C'],
  cputime: ['time'],
  rssize: ['rss'],
  rsz: ['rss', 'RSZ'],
  s: ['state'],
  start_time: ['stime', 'START'],
  tname: ['tty', 'TTY'],
  tt: ['tty'],
  ucmd: ['comm', 'CMD'],
  ucomm: ['comm'],
  uname: ['user'],
  vsize: ['vsz'],
};
/** ps(1)'s formats: names of columns, with their headings there. */
const FULL = 'user=UID,pid,ppid,c,stime,tty=TTY,time,cmd';
const AUX = 'user,pid,pcpu,vsz,rss,tty=TTY,stat,start_time,time,command';
const BRIEF = 'pid,tty=TTY,time,comm=CMD';
const COLUMN_GAP = 3;
const MINOR_BITS = 0xff;
const DAY_MS = 86_400_000;

export const topVerb: Verb = {
  usage: 'top CONTAINER [ps OPTIONS]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  optionsFirst: true,
  help: `
The options are those of ps(1) that choose columns: -ef, -e, aux, -o with names of columns, each with a
heading of your own after "=". Names of columns alone do as well. All processes of the container are shown,
with their IDs in it.

Examples:
  tsvm top web
  tsvm top web -o pid,etime,args
  tsvm top web -eo pid=ID,comm=PROGRAM`,
  addOptions: (command) => command,
  run: async ([name = '', ...words]) => {
    const store = openContainers();
    const container = await runningContainer(store, name);
    const columns = columnsOf(words);
    const client = clientOf(store, container);
    const { uptimeMs } = JSON.parse(await client.call('stats')) as ContainerStats;
    const bootMs = Date.now() - uptimeMs;
    const processes = JSON.parse(await client.call('processes')) as ProcessRow[];
    const rows = processes.map((row) => ({ ...row, startMs: bootMs + row.startedMs }));
    const cells = [
      columns.map(([heading]) => heading),
      ...rows.map((row) => columns.map(([, value]) => value(row))),
    ];
    const widths = columns.map((_, index) =>
      Math.max(...cells.map((line) => (line[index] ?? '').length)),
    );
    for (const line of cells) {
      const last = line.length - 1;
      writeLine(
        line
          .map((cell, index) =>
            index === last ? cell : cell.padEnd((widths[index] ?? 0) + COLUMN_GAP),
          )
          .join(''),
      );
    }
    return 0;
  },
};

/** @throws TsvmError `container-conflict` */
function columnsOf(words: readonly string[]): Column[] {
  let format: string | undefined;
  const chosen: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? '';
    // -o takes the rest of its word, or the next one; letters before it choose processes.
    const [, list] = /^-?[aAedxwH]*o(.*)$/.exec(word) ?? [];
    if (list !== undefined && !isColumn(word)) {
      chosen.push(list !== '' ? list : (words[++index] ?? ''));
    } else if (isColumn(word.split('=')[0] ?? '') || word.includes(',')) chosen.push(word);
    else format = formatOf(word);
  }
  const names = chosen.length > 0 ? chosen.join(',') : (format ?? FULL);
  return names.split(',').map(namedColumn);
}

/** The columns that letters such as `-ef` or `aux` stand for. */
function formatOf(word: string): string {
  if (/^-[aAedHwxf]*f[aAedHwxf]*$/.test(word) || word === 'ef') return FULL;
  if (/^-?[axw]*u[axw]*$/.test(word)) return AUX;
  if (/^-?[aAedHxw]+$/.test(word)) return BRIEF;
  throw new TsvmError(
    'container-conflict',
    `top ${word}: use -ef, -e, aux or -o COLUMN,... with ${Object.keys(COLUMNS).join(', ')}`,
  );
}

function isColumn(name: string): boolean {
  return Object.hasOwn(COLUMNS, name) || Object.hasOwn(ALIASES, name);
}

/** @param text the name of a column, or `NAME=HEADING` */
function namedColumn(text: string): Column {
  const [given = '', heading] = text.split(/=(.*)/s);
  const [name, other] = (Object.hasOwn(ALIASES, given) && ALIASES[given]) || [given];
  const column = Object.hasOwn(COLUMNS, name) ? COLUMNS[name] : undefined;
  if (column !== undefined) return [heading ?? other ?? column[0], column[1]];
  throw new TsvmError(
    'container-conflict',
    `top: unknown column ${given}: there are ${Object.keys(COLUMNS).join(', ')}`,
  );
}

/** Percent of a processor since the start. */
function cpuShare({ cpuMs, startMs }: TimedRow): number {
  return (100 * cpuMs) / Math.max(1, Date.now() - startMs);
}

/** Time of the day, or the date if that was on another day. */
function startTime(ms: number): string {
  const [, month = '', day = '', , time = ''] = new Date(ms).toString().split(' ');
  return Date.now() - ms < DAY_MS ? time.slice(0, 5) : `${month}${day}`;
}

/** ps(1): `[[DD-]hh:]mm:ss` */
function elapsed(ms: number): string {
  const days = Math.trunc(ms / DAY_MS);
  const time = clock(Math.max(0, ms) % DAY_MS);
  return days > 0 ? `${days}-${time}` : time.replace(/^00:/, '');
}

function seconds(ms: number): number {
  return Math.trunc(ms / 1000);
}

function clock(ms: number): string {
  const all = seconds(ms);
  const two = (value: number) => String(value).padStart(2, '0');
  return [all / 3600, (all / 60) % 60, all % 60].map((n) => two(Math.trunc(n))).join(':');
}

/** Device numbers: Linux, Documentation/admin-guide/devices.txt. */
function terminalName(device: number): string {
  if (device === 0) return '?';
  const major = device >> 8;
  return major >= 136 && major <= 143 ? `pts/${device & MINOR_BITS}` : `tty${device & MINOR_BITS}`;
}
