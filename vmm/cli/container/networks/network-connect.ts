import { isActive } from '../../../container/containers/container-state.ts';
import type { Container } from '../../../container/containers/container-store.ts';
import {
  withEndpoint,
  withoutEndpoint,
  withoutNetworks,
} from '../../../container/networks/network-changes.ts';
import { parseNetworks } from '../../../container/networks/network-flags.ts';
import type { NetworkSettings } from '../../../container/networks/network-settings.ts';
import { openNetworkStore } from '../../../container/networks/network-store.ts';
import { TsvmError } from '../../../errors.ts';
import { clientOf, openContainers } from '../containers.ts';
import { flag, text, texts } from '../option-values.ts';
import { collect, type Verb } from '../verb.ts';
import { usesNetwork } from './network-use.ts';

export const networkConnectVerb: Verb = {
  usage: 'connect [OPTIONS] NETWORK CONTAINER',
  argumentsMin: 2,
  argumentsMax: 2,
  help: `
A container that runs gets another interface. It can join four networks beyond those that it was started with.

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
    const containers = openContainers();
    const container = await containers.find(containerName);
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
    const [endpoint = { network: network.name, aliases: [] }] = endpoints;
    if (isActive(container.state)) {
      const { aliases, ip } = endpoint;
      const body = { network: network.name, aliases, ...(ip !== undefined && { ip }) };
      await clientOf(containers, container).call('connect', { body });
    } else {
      await changeNetwork(container, (settings) => withEndpoint(settings, endpoint));
    }
    return 0;
  },
};

export const networkDisconnectVerb: Verb = {
  usage: 'disconnect [OPTIONS] NETWORK CONTAINER',
  argumentsMin: 2,
  argumentsMax: 2,
  help: `
A container that was created with the network and has no other left has "none". To take it off the default
network, "bridge", stop it first.

Examples:
  tsvm network disconnect web db`,
  addOptions: (command) => command.option('-f, --force', 'ignored'),
  run: async ([networkName = '', containerName = ''], options) => {
    void flag(options, 'force');
    const containers = openContainers();
    const container = await containers.find(containerName);
    if (networkName === 'bridge' && container.config.network.mode === 'default') {
      if (isActive(container.state)) throw isRunning(container);
      await changeNetwork(container, withoutNetworks);
      return 0;
    }
    const network = openNetworkStore().find(networkName);
    if (!usesNetwork(container.config, network)) {
      throw new TsvmError(
        'network-conflict',
        `container ${container.config.id} is not connected to network ${network.name}`,
      );
    }
    if (isActive(container.state)) {
      await clientOf(containers, container).call('disconnect', { body: { network: network.id } });
    } else {
      await changeNetwork(container, (settings) => withoutEndpoint(settings, network));
    }
    return 0;
  },
};

function isRunning({ config: { name } }: Container): TsvmError {
  return new TsvmError(
    'container-conflict',
    `cannot disconnect the running container ${name} from the default network: stop it first`,
  );
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
