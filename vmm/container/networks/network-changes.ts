/** The settings of a container that joins networks and leaves them. */

import { isUserDefined } from './network-flags.ts';
import type { EndpointSettings, NetworkSettings } from './network-settings.ts';
import type { NetworkRecord } from './network-store.ts';

/** What a container without any network is attached to. */
const NO_NETWORK = 'none';

/** Whether the endpoint is one of the network, as it was named. */
export function isEndpointOf({ network }: EndpointSettings, { id, name }: NetworkRecord): boolean {
  return network === name || (network.length > 0 && id.startsWith(network));
}

export function withEndpoint(
  settings: NetworkSettings,
  endpoint: EndpointSettings,
): NetworkSettings {
  return {
    ...settings,
    mode: 'user-defined',
    dockerMode: settings.mode === 'none' ? endpoint.network : settings.dockerMode,
    endpoints: [...settings.endpoints, endpoint],
  };
}

/** A container that was on the default network before it joined others is there again after the last. */
export function withoutEndpoint(
  settings: NetworkSettings,
  network: NetworkRecord,
): NetworkSettings {
  const endpoints = settings.endpoints.filter((endpoint) => !isEndpointOf(endpoint, network));
  if (endpoints.length > 0) return { ...settings, endpoints };
  return isUserDefined(settings.dockerMode)
    ? withoutNetworks(settings)
    : { ...settings, mode: 'default', endpoints };
}

export function withoutNetworks(settings: NetworkSettings): NetworkSettings {
  return { ...settings, mode: 'none', dockerMode: NO_NETWORK, endpoints: [] };
}
