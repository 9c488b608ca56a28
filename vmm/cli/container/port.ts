import { publishedPorts } from '../../container/networks/container-networks.ts';
import { hostAddressText, portLines } from '../../container/networks/ports-text.ts';
import { TsvmError } from '../../errors.ts';
import { openContainers } from './containers.ts';
import { type Verb, writeLine } from './verb.ts';

export const portVerb: Verb = {
  usage: 'port CONTAINER [PRIVATE_PORT[/PROTO]]',
  argumentsMin: 1,
  argumentsMax: 2,
  help: `
Examples:
  tsvm port web
  tsvm port web 80`,
  addOptions: (command) => command,
  run: async ([name = '', wanted]) => {
    const { state } = await openContainers().find(name);
    const ports = publishedPorts(state.facts);
    if (wanted === undefined) {
      for (const line of portLines(ports)) writeLine(line);
      return 0;
    }
    const key = wanted.includes('/') ? wanted : `${wanted}/tcp`;
    const own = ports.filter(({ port }) => port === key);
    if (own.length === 0) {
      throw new TsvmError('invalid-config', `no public port '${wanted}' published for ${name}`);
    }
    for (const { hostAddress, hostPort } of own) writeLine(hostAddressText(hostAddress, hostPort));
    return 0;
  },
};
