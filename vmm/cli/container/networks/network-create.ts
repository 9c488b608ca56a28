import { openNetworkStore } from '../../../container/networks/network-store.ts';
import { TsvmError } from '../../../errors.ts';
import { keyValues } from '../create/option-kinds.ts';
import { flag, text, texts } from '../option-values.ts';
import { collect, type Verb, writeLine } from '../verb.ts';

export const networkCreateVerb: Verb = {
  usage: 'create [OPTIONS] NETWORK',
  argumentsMin: 1,
  argumentsMax: 1,
  help: `
Containers of a network have addresses of their own and find each other by name and alias. For root, this
host reaches their addresses as well. The bridge and its name server are there while containers run.

Examples:
  tsvm network create web
  tsvm network create --subnet 10.89.0.0/24 --gateway 10.89.0.1 web
  tsvm run -d --network web --network-alias db postgres`,
  addOptions: (command) =>
    command
      .option('--attachable', 'accepted: containers are always attached by hand')
      .option('-d, --driver <driver>', 'only bridge', 'bridge')
      .option('--gateway <address>', 'address of this host in the network')
      .option('--internal', 'no access to other networks')
      .option('--ip-range <subnet>', 'part of the subnet from which containers get addresses')
      .option('--ipv6', 'refused: networks have IPv4')
      .option('--label <label>', 'set a label: KEY[=VALUE]', collect)
      .option('-o, --opt <option>', 'recorded only: NAME=VALUE', collect)
      .option('--subnet <subnet>', 'such as 10.89.0.0/24'),
  run: async ([name = ''], options) => {
    const driver = text(options, 'driver');
    if (driver !== 'bridge') {
      throw new TsvmError(
        'invalid-container',
        `could not find plugin ${driver} in v1 plugin registry: plugin not found`,
      );
    }
    if (flag(options, 'ipv6')) {
      throw new TsvmError(
        'invalid-container',
        'networks with IPv6 are not supported: leave out --ipv6',
      );
    }
    const network = await openNetworkStore().create({
      name,
      subnet: text(options, 'subnet'),
      gateway: text(options, 'gateway'),
      ipRange: text(options, 'ipRange'),
      internal: flag(options, 'internal'),
      labels: keyValues(texts(options, 'label')),
      options: keyValues(texts(options, 'opt')),
    });
    writeLine(network.id);
    return 0;
  },
};
