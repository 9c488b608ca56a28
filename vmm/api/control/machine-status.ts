import type { ResolvedConfig, ResolvedDisk } from '../../machine/config.ts';
import type { ResolvedNet } from '../../machine/net-config.ts';
import type { ResolvedShare } from '../../machine/share-config.ts';
import type { FromSchema } from '../http/schema.ts';
import type { MACHINE } from './machine-schema.ts';

type MachineStatus = FromSchema<typeof MACHINE>;
type Devices = Pick<MachineStatus, 'disks' | 'nets' | 'shares' | 'ports' | 'vsock' | 'hasBalloon'>;

/** The devices of a machine according to its configuration. */
export function describeDevices(config: ResolvedConfig): Devices {
  const { shares, ports, vsock, balloon } = config;
  return {
    disks: config.disks.map(describeDisk),
    nets: config.nets.map(describeNet),
    shares: shares.flatMap(describeShare),
    ports: ports.map(({ name, socketPath }) => ({ name, socketPath })),
    ...(vsock && { vsock: withoutUndefined(vsock) }),
    hasBalloon: balloon,
  };
}

/** The files and folders of a share. */
function describeShare(share: ResolvedShare): NonNullable<MachineStatus['shares']> {
  const { tag } = share;
  const entries = 'path' in share ? [share] : share.entries;
  return entries.map(({ path, readOnly = false }) => ({ tag, path, readOnly }));
}

function describeDisk(disk: ResolvedDisk, index: number): MachineStatus['disks'][number] {
  const id = `disk${index}`;
  if ('files' in disk) return { id, path: disk.files[0] ?? '', readOnly: true };
  const { path, readOnly, limits } = disk;
  return { id, path, readOnly, ...(limits && { limits: withoutUndefined(limits) }) };
}

function describeNet(net: ResolvedNet, index: number): NonNullable<MachineStatus['nets']>[number] {
  const { kind, mac, linkUp, limits } = net;
  return {
    id: `net${index}`,
    kind,
    ...(kind === 'tap' && { tapName: net.name }),
    ...{ mac, linkUp, forwards: kind === 'user' ? net.forwards : [] },
    ...(limits && { limits: withoutUndefined(limits) }),
  };
}

type Defined<T> = { readonly [K in keyof T]: Exclude<T[K], undefined> };

/** Without properties that are undefined, which JSON does not have. */
function withoutUndefined<T extends object>(record: T): Defined<T> {
  const given = Object.entries(record).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as Defined<T>;
}
