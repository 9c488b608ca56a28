import type { ProcessRow } from '../../container/agent/agent.ts';
import { TsvmError } from '../../errors.ts';
import { clientOf, openContainers, runningContainer } from './containers.ts';
import { type Verb, writeLine } from './verb.ts';

/** ps(1)'s names of columns, their headings and values. */
const COLUMNS: Readonly<Record<string, readonly [heading: string, (row: ProcessRow) => string]>> = {
  args: ['COMMAND', ({ args }) => args.join(' ')],
  cmd: ['CMD', ({ args }) => args.join(' ')],
  comm: ['COMMAND', ({ args: [program = ''] }) => program.replace(/^.*\//, '')],
  command: ['COMMAND', ({ args }) => args.join(' ')],
  pcpu: ['%CPU', () => '0.0'],
  pid: ['PID', ({ pid }) => String(pid)],
  ppid: ['PPID', ({ parentPid }) => String(parentPid)],
  rss: ['RSS', ({ residentBytes }) => String(Math.round(residentBytes / 1024))],
  stat: ['STAT', ({ state }) => state],
  state: ['S', ({ state }) => state],
  time: ['TIME', ({ cpuMs }) => clock(cpuMs)],
  tty: ['TTY', ({ terminal }) => terminalName(terminal)],
  uid: ['UID', ({ userId }) => String(userId)],
  user: ['USER', ({ user }) => user],
  vsz: ['VSZ', ({ virtualBytes }) => String(Math.round(virtualBytes / 1024))],
};
/** The columns of `ps -ef`. */
const FULL = 'user,pid,ppid,c,stime,tty,time,cmd';
const AUX = 'user,pid,pcpu,vsz,rss,tty,stat,time,command';
const COLUMN_GAP = 3;
const MINOR_BITS = 0xff;

export const topVerb: Verb = {
  usage: 'top CONTAINER [ps OPTIONS]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  optionsFirst: true,
  help: `
The options are -ef, aux, or -o with names of ps(1)'s columns. Process IDs are those of the container.

Examples:
  tsvm top web
  tsvm top web -o pid,args`,
  addOptions: (command) => command,
  run: async ([name = '', ...words]) => {
    const store = openContainers();
    const container = await runningContainer(store, name);
    const columns = columnsOf(words);
    const answer = await clientOf(store, container).call('processes');
    const rows = JSON.parse(answer) as ProcessRow[];
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

type Column = (typeof COLUMNS)[string];

function columnsOf(words: readonly string[]): Column[] {
  const [first = '-ef', ...rest] = words;
  if (['-ef', '-eaf', 'ef', '-f', '-e'].includes(first)) return FULL.split(',').map(fullColumn);
  if (['aux', '-aux'].includes(first)) return AUX.split(',').map(named);
  const list = first.startsWith('-eo') || first.startsWith('-o') ? first.replace(/^-e?o/, '') : '';
  const names = list !== '' ? list : (rest[0] ?? '');
  if (names === '') {
    throw new TsvmError(
      'container-conflict',
      `top ${words.join(' ')}: use -ef, aux or -o COLUMN,... with ${Object.keys(COLUMNS).join(', ')}`,
    );
  }
  return names.split(',').map(named);
}

function named(name: string): Column {
  const column = COLUMNS[name];
  if (column !== undefined && Object.hasOwn(COLUMNS, name)) return column;
  throw new TsvmError(
    'container-conflict',
    `top: unknown column ${name}: there are ${Object.keys(COLUMNS).join(', ')}`,
  );
}

function fullColumn(name: string): Column {
  if (name === 'user') return ['UID', ({ user }) => user];
  if (name === 'c') return ['C', () => '0'];
  if (name === 'stime') return ['STIME', ({ startedMs }) => clock(startedMs)];
  return named(name);
}

function clock(ms: number): string {
  const seconds = Math.trunc(ms / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  return [seconds / 3600, (seconds / 60) % 60, seconds % 60]
    .map((n) => two(Math.trunc(n)))
    .join(':');
}

/** Device numbers: Linux, Documentation/admin-guide/devices.txt. */
function terminalName(device: number): string {
  if (device === 0) return '?';
  const major = device >> 8;
  return major >= 136 && major <= 143 ? `pts/${device & MINOR_BITS}` : `tty${device & MINOR_BITS}`;
}
