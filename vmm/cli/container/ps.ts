import type { ContainerConfig } from '../../container/containers/container-config.ts';
import {
  type ContainerState,
  dockerStatus,
  isRunning,
} from '../../container/containers/container-state.ts';
import type { Container, ContainerStore } from '../../container/containers/container-store.ts';
import { portsText } from '../../container/networks/container-networks.ts';
import type { ImageStore } from '../../container/store/image-store.ts';
import { TsvmError } from '../../errors.ts';
import { print } from '../standard-streams.ts';
import { filterContainers, PS_FILTERS } from './container-filters.ts';
import { allocatedBytes } from './container-size.ts';
import { openContainers } from './containers.ts';
import { parseCount } from './create/option-kinds.ts';
import { parseFilters } from './image-filters.ts';
import { imageBytes } from './images.ts';
import { openStore } from './open-store.ts';
import { flag, text, texts } from './option-values.ts';
import { formatList, LABELS, type ListKind, withMethods } from './template/formatted-list.ts';
import { Template } from './template/template.ts';
import { goTime, humanDuration, humanSize, shortId, timeAgo } from './units.ts';
import { collect, type Verb } from './verb.ts';

const CONTAINER_LIST: ListKind = {
  typeName: '*formatter.ContainerContext',
  headings: {
    Command: 'COMMAND',
    CreatedAt: 'CREATED AT',
    ID: 'CONTAINER ID',
    Image: 'IMAGE',
    Labels: 'LABELS',
    LocalVolumes: 'LOCAL VOLUMES',
    Mounts: 'MOUNTS',
    Names: 'NAMES',
    Networks: 'NETWORKS',
    Platform: 'PLATFORM',
    Ports: 'PORTS',
    RunningFor: 'CREATED',
    Size: 'SIZE',
    State: 'STATE',
    Status: 'STATUS',
  },
};
const TABLE =
  'table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}';
const COMMAND_MAX = 20;
const MOUNT_MAX = 15;

export const psVerb: Verb = {
  usage: 'ps [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Machines of "tsvm boot" are in "tsvm list".

Examples:
  tsvm ps
  tsvm ps -a --filter exited=1
  tsvm ps --format '{{.Names}} {{.Status}}'
  tsvm rm -f $(tsvm ps -a -q)`,
  addOptions: (command) =>
    command
      .option('-a, --all', 'show all containers (default: running ones)')
      .option(
        '-f, --filter <filter>',
        `only show these: ${PS_FILTERS.filter((name) => name !== 'is-task').join(', ')}, each =VALUE`,
        collect,
      )
      .option('--format <format>', 'table, "table TEMPLATE", json or a Go template', 'table')
      .option(
        '-n, --last <count>',
        'show this number of the latest created containers, in any state',
        '-1',
      )
      .option('-l, --latest', 'show the latest created container, in any state')
      .option('--no-trunc', 'do not truncate output')
      .option('-q, --quiet', 'only show IDs')
      .option('-s, --size', 'show the size of what each has written'),
  run: async (_, options) => {
    const format = text(options, 'format') ?? 'table';
    checkTemplate(format);
    const store = openContainers();
    const images = openStore();
    const filters = parseFilters(texts(options, 'filter'), PS_FILTERS);
    const count = parseCount(text(options, 'last') ?? '-1', '-n, --last');
    const last = flag(options, 'latest') ? 1 : count;
    const all = await store.list();
    const inAllStates =
      flag(options, 'all') || last > 0 || filters.has('status') || filters.has('exited');
    const chosen = filterContainers(all, filters, images)
      .filter(({ state }) => inAllStates || isRunning(state))
      .slice(0, last > 0 ? last : undefined);
    const size = flag(options, 'size');
    const short = options['trunc'] !== false;
    const rows = chosen.map((container) => containerRow(store, images, container, short, size));
    print(formatList(listFormat(format, flag(options, 'quiet'), size), rows, CONTAINER_LIST));
    return 0;
  },
};

/** As Docker's client, which tries a template with a container that has nothing, before it looks for any. */
function checkTemplate(format: string): void {
  if (format === 'table' || format === 'json') return;
  const nothing = Object.keys(CONTAINER_LIST.headings).map((name) => [name, '']);
  const row = {
    ...Object.fromEntries(nothing),
    Command: '""',
    CreatedAt: goTime(0),
    LocalVolumes: '0',
    RunningFor: timeAgo(0),
    Size: '0B',
    [LABELS]: {},
  };
  const during = (phase: string, error: unknown) => {
    if (!(error instanceof TsvmError)) return error;
    const message = error.message.replace(/^template parsing error/, `failed to ${phase} template`);
    return new TsvmError(error.code, message, { cause: error });
  };
  let template: Template;
  try {
    template = new Template(format);
  } catch (error) {
    throw during('parse', error);
  }
  try {
    template.fill(withMethods(row), CONTAINER_LIST.typeName);
  } catch (error) {
    throw during('execute', error);
  }
}

function listFormat(format: string, quiet: boolean, size: boolean): string {
  if (quiet && format === 'table') return '{{.ID}}';
  if (format === 'table') return size ? `${TABLE}\t{{.Size}}` : TABLE;
  return format;
}

function containerRow(
  store: ContainerStore,
  images: ImageStore,
  { config, state }: Container,
  short: boolean,
  withSize: boolean,
): Record<string | symbol, unknown> {
  const { createdMs, id, labels, mounts, name, network } = config;
  const volumes = mounts.filter(({ type }) => type === 'volume').length;
  const shownMounts = mounts.flatMap((mount) =>
    mount.type === 'volume' ? [mount.name] : mount.type === 'bind' ? [mount.source] : [],
  );
  const networks = network.endpoints.map((endpoint) => endpoint.network);
  return {
    Command: commandText(config, short),
    get CreatedAt() {
      return goTime(createdMs);
    },
    ID: short ? shortId(id) : id,
    Image: imageText(images, config),
    [LABELS]: labels,
    Labels: Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(','),
    LocalVolumes: String(volumes),
    Mounts: shownMounts.map((one) => (short ? ellipsis(one, MOUNT_MAX) : one)).join(','),
    Names: name,
    Networks: (networks.length > 0 ? networks : [network.mode === 'none' ? 'none' : 'bridge']).join(
      ',',
    ),
    Platform: config.platform,
    Ports: isRunning(state) ? portsText(network, state.facts) : '',
    RunningFor: timeAgo(createdMs),
    get Size() {
      return withSize ? sizeText(store, images, config) : '0B';
    },
    State: dockerStatus(state),
    Status: statusText(state),
  };
}

/** As Docker's daemon joins words, in Go's quotes. */
function commandText(config: ContainerConfig, short: boolean): string {
  const [program = '', ...args] = [...(config.entrypoint ?? []), ...config.command];
  const words = args.map((word) => (word.includes(' ') ? `'${word}'` : word));
  const command = [program, ...words].join(' ');
  return JSON.stringify(short ? ellipsis(command, COMMAND_MAX) : command);
}

function ellipsis(value: string, max: number): string {
  const characters = [...value];
  return characters.length <= max ? value : `${characters.slice(0, max - 1).join('')}…`;
}

/** The image's name, unless another image has it now. */
function imageText(images: ImageStore, { image, imageId }: ContainerConfig): string {
  try {
    if (images.find(image).image.id === imageId) return image;
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
  }
  return shortId(imageId);
}

function sizeText(store: ContainerStore, images: ImageStore, config: ContainerConfig): string {
  const written = allocatedBytes(store, config.id);
  const image = images.catalog.read().find(({ id }) => id === config.imageId);
  const total = written + (image === undefined ? 0 : imageBytes(image));
  return `${humanSize(written, 3)} (virtual ${humanSize(total, 3)})`;
}

/** As Docker writes it. */
function statusText(state: ContainerState): string {
  const { exitCode, finishedMs, health, startedMs, status } = state;
  switch (status) {
    case 'created':
    case 'starting':
      return 'Created';
    case 'exited':
      return `Exited (${exitCode}) ${timeAgo(finishedMs)}`;
    case 'restarting':
      return `Restarting (${exitCode}) ${timeAgo(finishedMs)}`;
    case 'paused':
    case 'running': {
      const up = `Up ${humanDuration(Date.now() - startedMs)}`;
      if (status === 'paused') return `${up} (Paused)`;
      if (health === undefined) return up;
      return `${up} (${health.status === 'starting' ? 'health: starting' : health.status})`;
    }
  }
}
