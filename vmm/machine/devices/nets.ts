import { startPasst } from '../../backends/net/passt.ts';
import { openBridgePort, openTap } from '../../backends/net/tap.ts';
import { NetDevice, netQueueCount } from '../../devices/virtio/net/net-device.ts';
import { KvmNetLink, type LinkFailure } from '../../kvm/net-link.ts';
import { netWorker, scriptQueues } from '../../kvm/queue-workers.ts';
import { KvmRateLimiter } from '../../kvm/rate-limiter.ts';
import { parseMacAddress } from '../../util/mac-address.ts';
import type { Assembly } from '../assembly.ts';
import type { ResolvedNet } from '../net-config.ts';
import { checkRateLimits } from '../rate-limits.ts';
import { attachVirtio } from './virtio.ts';

export async function attachNets(assembly: Assembly): Promise<void> {
  for (const [index, net] of assembly.config.nets.entries()) {
    await attachNet(assembly, `net${index}`, net);
  }
}

async function attachNet(assembly: Assembly, id: string, config: ResolvedNet): Promise<void> {
  const placement = assembly.placements.allocate();
  const queuePairs = config.kind === 'tap' ? config.queues : 1;
  const link = await openLink(assembly, id, config);
  const { limits = {} } = config;
  const limiters = { receive: new KvmRateLimiter(limits), transmit: new KvmRateLimiter(limits) };
  attachVirtio(assembly, placement, netQueueCount(queuePairs), (host) => {
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
  });
}

async function openLink(assembly: Assembly, id: string, config: ResolvedNet): Promise<KvmNetLink> {
  const { machine, host } = assembly;
  const onFailure = (code: LinkFailure) =>
    host.logger.error(`${id}: ${failureText(config, code)}; the guest has lost this network`);
  if (config.kind === 'tap') {
    const { bridge, name, queues } = config;
    const fds = bridge === undefined ? openTap(name, queues) : [openBridgePort(name, bridge)];
    const link = new KvmNetLink({ kind: 'tap', fds, onFailure });
    machine.own(() => link.close());
    return link;
  }
  const { addresses, forwards, gatewayIsHost, mtu } = config;
  const passt = await startPasst({ addresses, forwards, gatewayIsHost, mtu });
  if (passt.warning !== undefined) host.logger.warn(`${id}: ${passt.warning}`);
  machine.own(() => passt.stop());
  const link = new KvmNetLink({ kind: 'stream', fds: [passt.fd], onFailure });
  machine.own(() => link.close());
  return link;
}

function failureText(config: ResolvedNet, code: LinkFailure): string {
  if (config.kind === 'tap') return `the tap device ${config.name} was deleted`;
  return code === 'EPROTO' ? 'passt sent what is no Ethernet frame' : 'passt has ended';
}
