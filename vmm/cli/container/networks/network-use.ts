import type { ContainerConfig } from '../../../container/containers/container-config.ts';
import type { NetworkRecord } from '../../../container/networks/network-store.ts';

/** Whether a container is to be attached to a network, as it was named. */
export function usesNetwork({ network }: ContainerConfig, { id, name }: NetworkRecord): boolean {
  return network.endpoints.some((one) => {
    return one.network === name || (one.network.length > 0 && id.startsWith(one.network));
  });
}
