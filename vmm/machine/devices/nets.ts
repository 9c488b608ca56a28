import { startPasst } from '../../backends/net/passt.ts';
import { openBridgePort, openTap } from '../../backends/net/tap.ts';
import { NetDevice, netQueueCount } from '../../devices/virtio/net/net-device.ts';
import { KvmNetLink, type LinkFailure } from '../../kvm/net-link.ts';
import { netWorker, type QueueHost, scriptQueues } from '../../kvm/queue-workers.ts';
import { KvmRateLimiter } from '../../kvm/rate-limiter.ts';
import { parseMacAddress } from '../../util/mac-address.ts';
import type { Assembly } from '../assembly.ts';
import { deviceIds } from '../device-ids.ts';
import { type DeviceOwner, type DevicePlace, DeviceScope } from '../device-scope.ts';
import type { ResolvedNet } from '../net-config.ts';
import { type Placed, placed } from '../placement.ts';
import { checkRateLimits } from '../rate-limits.ts';
import { attachVirtio } from './virtio.ts';

export function attachNets(assembly: Assembly): void {
  const { nets } = assembly.config;
  const ids = deviceIds('net', nets);
  for (const [index, net] of nets.entries()) {
    const placement = assembly.placements.allocateRemovable(net.slot);
    const attached = attachNet(assembly, placed(net, ids[index] ?? '', placement), {
      placement,
      scope: new DeviceScope(assembly.machine),
    });
    assembly.awaitBeforeStart(attached);
  }
}

/**
 * Attaches a network to a machine, at once, and adds it to its controls. The scope has all that it has
 * open. Resolves when the network serves.
 */
export async function attachNet(
  assembly: Assembly,
  config: Placed<ResolvedNet>,
  { placement, scope }: DevicePlace,
): Promise<void> {
  const { id } = config;
  const queuePairs = config.kind === 'tap' ? config.queues : 1;
  const { link, ready } = openLink(assembly, config, scope);
  const { limits = {} } = config;
  const limiters = { receive: new KvmRateLimiter(limits), transmit: new KvmRateLimiter(limits) };
  const createDevice = (host: QueueHost) => {
    const device = new NetDevice({
      id,
      mac: parseMacAddress(config.mac) ?? new Uint8Array(),
      mtu: config.mtu,
      link,
      linkUp: config.linkUp,
      queuePairs,
      createWorker: netWorker(host, link.ports, limiters),
      createQueues: scriptQueues(host),
    });
    const close = () => device.reset().finally(() => scope.close());
    if (placement.kind === 'pci') assembly.removable.set(id, { placement, close });
    else assembly.windowNets.set(id, { placement, close });
    let present = config;
    assembly.machine.controls.nets.set(id, {
      get config() {
        return present;
      },
      setLink: (up) => {
        device.setLink(up);
        present = { ...present, linkUp: up };
      },
      setRateLimits: (changed) => {
        checkRateLimits(changed);
        limiters.receive.set(changed);
        limiters.transmit.set(changed);
        present = { ...present, limits: changed };
      },
    });
    return device;
  };
  attachVirtio(assembly, placement, netQueueCount(queuePairs), createDevice, scope);
  await ready;
}

function openLink(
  { host }: Assembly,
  config: Placed<ResolvedNet>,
  owner: DeviceOwner,
): { link: KvmNetLink; ready?: Promise<void> } {
  const { id } = config;
  const onFailure = (code: LinkFailure) =>
    host.logger.error(`${id}: ${failureText(config, code)}; the guest has lost this network`);
  if (config.kind === 'tap') {
    const { bridge, name, queues, mac, spoofing } = config;
    const fds = bridge === undefined ? openTap(name, queues) : [openBridgePort(name, bridge)];
    const source = spoofing ? undefined : parseMacAddress(mac);
    const link = new KvmNetLink({ kind: 'tap', fds, source, onFailure });
    owner.own(() => link.close());
    return { link };
  }
  const { addresses, forwards, gatewayIsHost, mtu } = config;
  const passt = startPasst({ addresses, forwards, gatewayIsHost, mtu });
  if (passt.warning !== undefined) host.logger.warn(`${id}: ${passt.warning}`);
  owner.own(() => passt.stop());
  const link = new KvmNetLink({ kind: 'stream', fds: [passt.fd], onFailure });
  owner.own(() => link.close());
  return { link, ready: passt.ready };
}

function failureText(config: ResolvedNet, code: LinkFailure): string {
  if (config.kind === 'tap') return `the tap device ${config.name} was deleted`;
  return code === 'EPROTO' ? 'passt sent what is no Ethernet frame' : 'passt has ended';
}
