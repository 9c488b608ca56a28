import { networkFolder } from '../../../container/networks/network-membership.ts';
import {
  type NetworkRecord,
  type NetworkStore,
  openNetworkStore,
  PREDEFINED,
} from '../../../container/networks/network-store.ts';
import { inspectObjects } from '../object-details.ts';
import { text } from '../option-values.ts';
import { rfc3339 } from '../units.ts';
import type { Verb } from '../verb.ts';

export const networkInspectVerb: Verb = {
  usage: 'inspect [OPTIONS] NETWORK [NETWORK...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm network inspect web
  tsvm network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' web`,
  addOptions: (command) =>
    command
      .option('-f, --format <format>', 'json or a Go template')
      .option('-v, --verbose', 'ignored'),
  run: async (names, options) => {
    const store = openNetworkStore();
    return inspectObjects(names, text(options, 'format') ?? '', (name) =>
      networkDetails(store, name),
    );
  },
};

/** Docker's fields. @throws TsvmError `network-not-found` */
export function networkDetails(store: NetworkStore, name: string): object {
  const predefined = Object.entries(PREDEFINED).find(
    ([own, { id }]) => own === name || id === name,
  );
  if (predefined !== undefined) {
    const [own, { driver, id }] = predefined;
    return details(
      { id, name: own, createdMs: 0, internal: false, labels: {}, options: {} },
      driver,
      [],
      {},
    );
  }
  const network = store.find(name);
  const { gateway, ipRange, subnet } = network;
  const config = {
    Subnet: subnet,
    ...(ipRange !== undefined && { IPRange: ipRange }),
    Gateway: gateway,
  };
  const folder = networkFolder(network);
  const containers = folder.endpoints().map(({ address, containerId, containerName, mac }) => [
    containerId,
    {
      Name: containerName,
      EndpointID: '',
      MacAddress: mac,
      IPv4Address: `${address}/${folder.prefixLength}`,
      IPv6Address: '',
    },
  ]);
  return details(network, 'bridge', [config], Object.fromEntries(containers));
}

function details(
  network: Pick<NetworkRecord, 'id' | 'name' | 'createdMs' | 'internal' | 'labels' | 'options'>,
  driver: string,
  config: readonly object[],
  containers: object,
): object {
  const { createdMs, id, internal, labels, name, options } = network;
  return {
    Name: name,
    Id: id,
    Created: rfc3339(createdMs),
    Scope: 'local',
    Driver: driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: {}, Config: config },
    Internal: internal,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: containers,
    Options: options,
    Labels: labels,
  };
}
