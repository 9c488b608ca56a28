/** `--filter` of `ps` and `container prune`, as Docker has it. */
import { type ContainerState, dockerStatus } from '../../container/containers/container-state.ts';
import type { Container } from '../../container/containers/container-store.ts';
import { publishedPorts } from '../../container/networks/container-networks.ts';
import type { ImageStore } from '../../container/store/image-store.ts';
import { TsvmError } from '../../errors.ts';
import { type Filters, matches } from './image-filters.ts';
import { parseTime } from './times.ts';

type Test = (container: Container, value: string) => boolean;

const STATUSES = ['created', 'restarting', 'running', 'removing', 'paused', 'exited', 'dead'];
const HEALTHS = ['starting', 'healthy', 'unhealthy', 'none'];

function healthOf({ health }: ContainerState): string {
  return health?.status ?? 'none';
}

function hasLabel({ config: { labels } }: Container, wanted: string): boolean {
  const equals = wanted.indexOf('=');
  if (equals < 0) return Object.hasOwn(labels, wanted);
  return labels[wanted.slice(0, equals)] === wanted.slice(equals + 1);
}

function hasPort(ports: readonly string[], wanted: string): boolean {
  const [range = '', protocol = 'tcp'] = wanted.split('/');
  const [first = 0, last = first] = range.split('-').map(Number);
  return ports.some((port) => {
    const [number, own = 'tcp'] = port.split('/');
    return own === protocol && Number(number) >= first && Number(number) <= last;
  });
}

/** Names of filters whose values are alternatives; of the others, all must hold. */
const ANY: Readonly<Record<string, Test>> = {
  id: ({ config }, value) => config.id.startsWith(value),
  name: ({ config: { name } }, value) => matches(name, value) || matches(`/${name}`, value),
  exited: ({ state }, value) => state.status === 'exited' && String(state.exitCode) === value,
  health: ({ state }, value) => healthOf(state) === value,
  status: ({ state }, value) => dockerStatus(state) === value,
  network: ({ config: { network } }, value) =>
    network.dockerMode === value ||
    network.endpoints.some((endpoint) => endpoint.network === value),
  volume: ({ config }, value) =>
    config.mounts.some(
      (mount) =>
        mount.destination === value ||
        (mount.type === 'volume' && mount.name === value) ||
        (mount.type === 'bind' && mount.source === value),
    ),
  expose: ({ config }, value) => hasPort(config.network.exposed, value),
  publish: ({ state }, value) =>
    hasPort(
      publishedPorts(state.facts).map(({ port }) => port),
      value,
    ),
};

export const PS_FILTERS = [
  ...['ancestor', 'before', 'expose', 'exited', 'health', 'id', 'is-task', 'label', 'name'],
  ...['network', 'publish', 'since', 'status', 'volume'],
];

/** The containers that a list is of. @throws TsvmError for a value that means nothing */
export function filterContainers(
  all: readonly Container[],
  filters: Filters,
  images: ImageStore,
): Container[] {
  check(filters, 'status', STATUSES);
  check(filters, 'health', HEALTHS);
  const bounds = ['before', 'since'].map((name) => createdOf(all, filters.get(name)));
  const [before = [], since = []] = bounds;
  const until = (filters.get('until') ?? []).map(parseTime);
  const ancestors = filters.get('ancestor')?.map((name) => ancestorId(images, name));
  return all.filter((container) => {
    const { config } = container;
    const { createdMs, imageId } = config;
    const isAncestor = ({ id, name }: { id: string | undefined; name: string }) =>
      config.image === name || imageId === id || imageId.startsWith(`sha256:${name}`);
    return (
      Object.entries(ANY).every(([name, test]) => {
        const values = filters.get(name);
        return values === undefined || values.some((value) => test(container, value));
      }) &&
      (filters.get('label') ?? []).every((label) => hasLabel(container, label)) &&
      !(filters.get('label!') ?? []).some((label) => hasLabel(container, label)) &&
      before.every((ms) => createdMs < ms) &&
      since.every((ms) => createdMs > ms) &&
      until.every((ms) => createdMs < ms) &&
      (ancestors === undefined || ancestors.some(isAncestor)) &&
      !(filters.get('is-task') ?? []).some((value) => /^(?:1|true)$/.test(value))
    );
  });
}

function check(filters: Filters, name: string, known: readonly string[]): void {
  const wrong = filters.get(name)?.find((value) => !known.includes(value));
  if (wrong === undefined) return;
  throw new TsvmError('container-conflict', `invalid filter '${name}=${wrong}'`);
}

function createdOf(all: readonly Container[], names: readonly string[] = []): number[] {
  return names.map((name) => {
    const found = all.find(({ config }) => config.name === name || config.id.startsWith(name));
    if (found !== undefined) return found.config.createdMs;
    throw new TsvmError('container-not-found', `No such container: ${name}`);
  });
}

function ancestorId(images: ImageStore, name: string): { id: string | undefined; name: string } {
  try {
    return { id: images.find(name).image.id, name };
  } catch (error) {
    if (error instanceof TsvmError) return { id: undefined, name };
    throw error;
  }
}
