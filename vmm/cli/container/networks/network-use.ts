import type { ContainerConfig } from '../../../container/containers/container-config.ts';
import { isEndpointOf } from '../../../container/networks/network-changes.ts';
import type { NetworkRecord } from '../../../container/networks/network-store.ts';

/** Whether a container is to be attached to a network, as it was named. */
export function usesNetwork({ network }: ContainerConfig, record: NetworkRecord): boolean {
  return network.endpoints.some((endpoint) => isEndpointOf(endpoint, record));
}
