import { isActive } from '../../../container/containers/container-state.ts';
import type { Container } from '../../../container/containers/container-store.ts';
import { parseNetworks } from '../../../container/networks/network-flags.ts';
import type {
  EndpointSettings,
  NetworkSettings,
} from '../../../container/networks/network-settings.ts';
import { type NetworkRecord, openNetworkStore } from '../../../container/networks/network-store.ts';
import { TsvmError } from '../../../errors.ts';
import { openContainers } from '../containers.ts';
import { flag, text, texts } from '../option-values.ts';
import { collect, type Verb } from '../verb.ts';
import { usesNetwork } from './network-use.ts';

/** What a container without any network is attached to again. */
const NO_NETWORK = 'none';

export const networkConnectVerb: Verb = {
  usage: 'connect [OPTIONS] NETWORK CONTAINER',
  argumentsMin: 2,
  argumentsMax: 2,
  help: `
The container must not run: its machine gets its interfaces when it starts.

Examples:
  tsvm network connect web db
  tsvm network connect --alias postgres --ip 10.89.0.9 web db`,
  addOptions: (command) =>
    command
      .option('--alias <name>', 'additional name of the container in the network', collect)
      .option('--driver-opt <option>', 'ignored', collect)
      .option('--gw-priority <number>', 'ignored')
      .option('--ip <address>', 'IPv4 address')
      .option('--ip6 <address>', 'refused: networks have IPv4')
      .option('--link <container>', 'refused: containers find each other by name', collect)
      .option('--link-local-ip <address>', 'ignored', collect),
  run: async ([networkName = '', containerName = ''], options) => {
    if (texts(options, 'link').length > 0) {
      throw new TsvmError(
        'invalid-container',
        '--link is not supported: use the names of containers',
      );
    }
    const network = openNetworkStore().find(networkName);
    const container = await stoppedContainer(containerName, 'connect');
    if (usesNetwork(container.config, network)) {
      throw new TsvmError(
        'network-conflict',
        `endpoint with name ${container.config.name} already exists in network ${network.name}`,
      );
    }
    const { endpoints } = parseNetworks({
      networks: [network.name],
      aliases: texts(options, 'alias'),
      ip: text(options, 'ip'),
      ip6: text(options, 'ip6'),
    });
    await changeNetwork(container, (settings) =>
      withEndpoints(settings, [...settings.endpoints, ...endpoints]),
    );
    return 0;
  },
};

export const networkDisconnectVerb: Verb = {
  usage: 'disconnect [OPTIONS] NETWORK CONTAINER',
  argumentsMin: 2,
  argumentsMax: 2,
  help: `
The container must not run. One without any network left has "none".

Examples:
  tsvm network disconnect web db`,
  addOptions: (command) => command.option('-f, --force', 'ignored'),
  run: async ([networkName = '', containerName = ''], options) => {
    void flag(options, 'force');
    const container = await stoppedContainer(containerName, 'disconnect');
    if (networkName === 'bridge' && container.config.network.mode === 'default') {
      await changeNetwork(container, (settings) => withEndpoints(settings, []));
      return 0;
    }
    const network = openNetworkStore().find(networkName);
    if (!usesNetwork(container.config, network)) {
      throw new TsvmError(
        'network-conflict',
        `container ${container.config.id} is not connected to network ${network.name}`,
      );
    }
    await changeNetwork(container, (settings) =>
      withEndpoints(
        settings,
        settings.endpoints.filter((endpoint) => !isOf(endpoint, network)),
      ),
    );
    return 0;
  },
};

function isOf({ network }: EndpointSettings, { id, name }: NetworkRecord): boolean {
  return network === name || id.startsWith(network);
}

async function stoppedContainer(name: string, verb: string): Promise<Container> {
  const container = await openContainers().find(name);
  if (!isActive(container.state)) return container;
  throw new TsvmError(
    'container-conflict',
    `cannot ${verb} the running container ${container.config.name}: stop it first, as a machine gets its ` +
      'interfaces when it starts',
  );
}

function withEndpoints(
  settings: NetworkSettings,
  endpoints: readonly EndpointSettings[],
): NetworkSettings {
  const [first] = endpoints;
  const { mac: _, ...rest } = settings;
  return first === undefined
    ? { ...rest, mode: 'none', dockerMode: NO_NETWORK, endpoints }
    : { ...rest, mode: 'user-defined', dockerMode: first.network, endpoints };
}

async function changeNetwork(
  { config: { id } }: Container,
  change: (settings: NetworkSettings) => NetworkSettings,
): Promise<void> {
  await openContainers().updateConfig(id, (config) => ({
    ...config,
    network: change(config.network),
  }));
}
