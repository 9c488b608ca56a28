import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerStats } from '../../container/agent/agent.ts';
import { isRunning } from '../../container/containers/container-state.ts';
import type { Container, ContainerStore } from '../../container/containers/container-store.ts';
import { TsvmError } from '../../errors.ts';
import { isTerminal } from '../output-descriptor.ts';
import { print } from '../standard-streams.ts';
import { clientOf, openContainers } from './containers.ts';
import { flag, text } from './option-values.ts';
import { formatList, type ListKind } from './template/formatted-list.ts';
import { humanSize, shortId } from './units.ts';
import type { Verb } from './verb.ts';

const STATS_LIST: ListKind = {
  typeName: '*container.statsContext',
  headings: {
    BlockIO: 'BLOCK I/O',
    CPUPerc: 'CPU %',
    Container: 'CONTAINER',
    ID: 'CONTAINER ID',
    MemPerc: 'MEM %',
    MemUsage: 'MEM USAGE / LIMIT',
    Name: 'NAME',
    NetIO: 'NET I/O',
    PIDs: 'PIDS',
  },
};
const TABLE =
  'table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}';
const INTERVAL_MS = 1000;
const STDOUT = 1;
const CLEAR_SCREEN = '\x1b[2J\x1b[H';
const IEC_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export const statsVerb: Verb = {
  usage: 'stats [OPTIONS] [CONTAINER...]',
  argumentsMin: 0,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm stats
  tsvm stats --no-stream --format '{{.Name}} {{.MemUsage}}' web`,
  addOptions: (command) =>
    command
      .option('-a, --all', 'show all containers (default: running ones)')
      .option('--format <format>', 'table, "table TEMPLATE", json or a Go template', 'table')
      .option('--no-stream', 'show the statistics once')
      .option('--no-trunc', 'do not truncate output'),
  run: async (names, options) => {
    const store = openContainers();
    const format = text(options, 'format') ?? 'table';
    const streams = options['stream'] !== false;
    const short = options['trunc'] !== false;
    const before = new Map<string, ContainerStats>();
    const choose = async () => {
      if (names.length > 0) return await Promise.all(names.map((name) => store.find(name)));
      const all = await store.list();
      return flag(options, 'all') ? all : all.filter(({ state }) => isRunning(state));
    };
    for (let round = 0; ; round++) {
      const containers = await choose();
      const rows = await Promise.all(
        containers.map((container) => row(store, container, before, short)),
      );
      // CPU use is what was used between two looks.
      if (round > 0) {
        const clear = streams && isTerminal(STDOUT) && format.startsWith('table');
        const list = formatList(format === 'table' ? TABLE : format, rows, STATS_LIST);
        print((clear ? CLEAR_SCREEN : '') + list);
        if (!streams) return 0;
      }
      await sleep(INTERVAL_MS);
    }
  },
};

async function row(
  store: ContainerStore,
  container: Container,
  before: Map<string, ContainerStats>,
  short: boolean,
): Promise<Record<string, string>> {
  const { config } = container;
  const id = short ? shortId(config.id) : config.id;
  const names = { Container: id, ID: id, Name: config.name };
  const stats = await statsOf(store, container);
  if (stats === undefined) {
    const none = { CPUPerc: '--', MemUsage: '-- / --', MemPerc: '--' };
    return { ...names, ...none, BlockIO: '--', NetIO: '--', PIDs: '--' };
  }
  const last = before.get(config.id);
  before.set(config.id, stats);
  const elapsedMs = stats.uptimeMs - (last?.uptimeMs ?? 0);
  const usedMs = stats.cpuMs - (last?.cpuMs ?? 0);
  const { interfaces, memoryBytes, memoryLimitBytes } = stats;
  const received = interfaces.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0);
  const sent = interfaces.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  return {
    ...names,
    BlockIO: `${humanSize(stats.blockReadBytes, 3)} / ${humanSize(stats.blockWriteBytes, 3)}`,
    CPUPerc: `${(elapsedMs > 0 ? (100 * usedMs) / elapsedMs : 0).toFixed(2)}%`,
    MemPerc: `${((100 * memoryBytes) / Math.max(1, memoryLimitBytes)).toFixed(2)}%`,
    MemUsage: `${binarySize(memoryBytes)} / ${binarySize(memoryLimitBytes)}`,
    NetIO: `${humanSize(received, 3)} / ${humanSize(sent, 3)}`,
    PIDs: String(stats.pids),
  };
}

/** Undefined for a container that does not run, or is paused. */
async function statsOf(
  store: ContainerStore,
  container: Container,
): Promise<ContainerStats | undefined> {
  if (container.state.status !== 'running') return undefined;
  try {
    return JSON.parse(await clientOf(store, container).call('stats')) as ContainerStats;
  } catch (error) {
    if (error instanceof TsvmError) return undefined;
    throw error;
  }
}

/** Docker shows memory in units of 1024, with four significant digits. */
function binarySize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < IEC_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toPrecision(4))}${IEC_UNITS[unit]}`;
}
