import type { ResolvedConfig, ResolvedDisk } from '../../machine/config.ts';
import { deviceIds } from '../../machine/device-ids.ts';
import type { ResolvedNet } from '../../machine/net-config.ts';
import type { ResolvedShare } from '../../machine/share-config.ts';
import { asJson } from '../../util/json.ts';
import type { FromSchema } from '../http/schema.ts';
import type { MACHINE } from './machine-schema.ts';

type MachineStatus = FromSchema<typeof MACHINE>;
type Devices = Pick<
  MachineStatus,
  'disks' | 'pmems' | 'nets' | 'shares' | 'ports' | 'vsock' | 'hasBalloon'
>;

/** The devices of a machine according to its configuration. */
export function describeDevices(config: ResolvedConfig): Devices {
  const { shares, ports, vsock, balloon } = config;
  const diskIds = deviceIds('disk', config.disks);
  const netIds = deviceIds('net', config.nets);
  return {
    disks: config.disks.map((disk, index) => describeDisk(disk, diskIds[index] ?? '')),
    pmems: config.pmems.map(({ path, readOnly }) => ({ path, readOnly })),
    nets: config.nets.map((net, index) => describeNet(net, netIds[index] ?? '')),
    shares: shares.flatMap(describeShare),
    ports: ports.map(({ name, socketPath }) => ({ name, socketPath })),
    ...(vsock && { vsock: asJson(vsock) }),
    hasBalloon: balloon,
  };
}

/** The files and folders of a share. */
function describeShare(share: ResolvedShare): NonNullable<MachineStatus['shares']> {
  const { tag } = share;
  const entries = 'path' in share ? [share] : share.entries;
  return entries.map(({ path, readOnly = false }) => ({ tag, path, readOnly }));
}

function describeDisk(disk: ResolvedDisk, id: string): MachineStatus['disks'][number] {
  if ('files' in disk) return { id, path: disk.files[0] ?? '', readOnly: true };
  const { path, readOnly, limits } = disk;
  return { id, path, readOnly, ...(limits && { limits: asJson(limits) }) };
}

function describeNet(net: ResolvedNet, id: string): NonNullable<MachineStatus['nets']>[number] {
  const { kind, mac, linkUp, limits } = net;
  return {
    id,
    kind,
    ...(kind === 'tap' && { tapName: net.name }),
    ...{ mac, linkUp, forwards: kind === 'user' ? net.forwards : [] },
    ...(limits && { limits: asJson(limits) }),
  };
}
