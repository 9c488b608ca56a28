import { cleanNetworks } from '../../../container/networks/network-membership.ts';
import { openNetworkStore, PREDEFINED } from '../../../container/networks/network-store.ts';
import { print } from '../../standard-streams.ts';
import { openContainers } from '../containers.ts';
import { booleanFilter, parseFilters } from '../image-filters.ts';
import { labelsText, matchesLabels } from '../object-details.ts';
import { flag, text, texts } from '../option-values.ts';
import { formatList, type ListKind } from '../template/formatted-list.ts';
import { goTime, shortId } from '../units.ts';
import { collect, type Verb } from '../verb.ts';
import { usesNetwork } from './network-use.ts';

const NETWORK_LIST: ListKind = {
  typeName: '*formatter.networkContext',
  headings: {
    CreatedAt: 'CREATED AT',
    Driver: 'DRIVER',
    ID: 'NETWORK ID',
    IPv4: 'IPV4',
    IPv6: 'IPV6',
    Internal: 'INTERNAL',
    Labels: 'LABELS',
    Name: 'NAME',
    Scope: 'SCOPE',
  },
};
const TABLE = 'table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}';
const FILTERS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

interface ListedNetwork {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly isCustom: boolean;
  readonly isUsed: boolean;
  readonly createdMs: number;
  readonly internal: boolean;
  readonly labels: Readonly<Record<string, string>>;
}

export const networkLsVerb: Verb = {
  usage: 'ls [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
"bridge" is what containers have when nothing is said: the outside, and published ports.

Examples:
  tsvm network ls
  tsvm network ls -q -f type=custom`,
  addOptions: (command) =>
    command
      .option(
        '-f, --filter <filter>',
        'only show these: dangling=true|false, driver=, id=, label=KEY[=VALUE], name=, scope=local, type=custom|builtin',
        collect,
      )
      .option('--format <format>', 'table, "table TEMPLATE", json or a Go template', 'table')
      .option('--no-trunc', 'do not truncate IDs')
      .option('-q, --quiet', 'only show IDs'),
  run: async (_, options) => {
    const filters = parseFilters(texts(options, 'filter'), FILTERS);
    const dangling = booleanFilter(filters, 'dangling');
    const oneOf = (name: string, matches: (value: string) => boolean) =>
      filters.get(name)?.some(matches) ?? true;
    const chosen = (await listNetworks()).filter(
      (network) =>
        (dangling === undefined || (network.isCustom && dangling === !network.isUsed)) &&
        oneOf('driver', (value) => network.driver === value) &&
        oneOf('id', (value) => network.id.includes(value)) &&
        oneOf('name', (value) => network.name.includes(value)) &&
        oneOf('scope', (value) => value === 'local') &&
        oneOf('type', (value) => value === (network.isCustom ? 'custom' : 'builtin')) &&
        matchesLabels(network.labels, filters),
    );
    const short = options['trunc'] !== false;
    const rows = chosen.map(({ createdMs, driver, id, internal, labels, name }) => ({
      CreatedAt: goTime(createdMs),
      Driver: driver,
      ID: short ? shortId(id) : id,
      IPv4: 'true',
      IPv6: 'false',
      Internal: String(internal),
      Labels: labelsText(labels),
      Name: name,
      Scope: 'local',
    }));
    const format = text(options, 'format') ?? 'table';
    const shown = format === 'table' && flag(options, 'quiet') ? '{{.ID}}' : format;
    print(formatList(shown === 'table' ? TABLE : shown, rows, NETWORK_LIST));
    return 0;
  },
};

async function listNetworks(): Promise<ListedNetwork[]> {
  await cleanNetworks();
  const containers = await openContainers().list();
  const builtin = Object.entries(PREDEFINED).map(([name, { driver, id }]) => {
    const rest = { isCustom: false, isUsed: true, createdMs: 0, internal: false, labels: {} };
    return { id, name, driver, ...rest };
  });
  const custom = openNetworkStore()
    .list()
    .map((network) => ({
      ...network,
      driver: 'bridge',
      isCustom: true,
      isUsed: containers.some(({ config }) => usesNetwork(config, network)),
    }));
  return [...builtin, ...custom].sort((a, b) => (a.name < b.name ? -1 : 1));
}
