import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bridge } from '../../backends/net/tap.ts';
import { randomHex } from '../../host/random.ts';
import { ipv4Number } from './ipv4-subnet.ts';
import { NetworkFolder, namesIn, networksRuntimeFolder } from './network-folder.ts';
import { bridgeName, removeBridge, startHolder } from './network-holder.ts';
import { FolderNames, type NetworkNames } from './network-names.ts';
import type { EndpointSettings } from './network-settings.ts';
import { type NetworkRecord, type NetworkStore, openNetworkStore } from './network-store.ts';

/** How long a holder may take to remove its network after its last member has gone. */
const REMOVAL_TIMEOUT_MS = 5_000;
const POLL_MS = 10;

/** The container that joins. */
export interface Member {
  readonly id: string;
  readonly name: string;
}

/** A container's place on a network, as long as its process has it. */
export interface NetworkMembership {
  readonly network: NetworkRecord;
  readonly address: string;
  readonly prefixLength: number;
  readonly mac: string;
  /** By which other containers find it. */
  readonly names: readonly string[];
  /** All containers on the network. */
  readonly containers: NetworkNames;
  readonly bridge: Bridge;
  /** Of the tap device that becomes a port of the bridge. */
  readonly tapName: string;
  /** The container has another name, by which the others find it from now on. */
  rename(name: string): void;
  /** Gives the place back; the last member to do so removes the network from the host. */
  leave(): Promise<void>;
}

/**
 * Joins a network, which is set up if this is the first member.
 * @throws TsvmError `network-not-found`, `network-unavailable`, `invalid-container`
 */
export async function joinNetwork(
  settings: EndpointSettings,
  member: Member,
): Promise<NetworkMembership> {
  const network = openNetworkStore().find(settings.network);
  const folder = new NetworkFolder(networksRuntimeFolder(), network);
  const claim = folder.claimAddress(settings.ip);
  const { address } = claim;
  const mac = settings.mac ?? macOf(address);
  const namesWith = (name: string) => [
    ...new Set([name, member.id.slice(0, 12), ...settings.aliases]),
  ];
  let names = namesWith(member.name);
  const tell = (containerName: string) =>
    folder.addEndpoint({ containerId: member.id, containerName, address, mac, names });
  try {
    const { fd, namespacePid } = await folder.changing(() => {
      // Forgets what killed processes have left.
      folder.endpoints();
      return becomeMember(network, folder);
    });
    tell(member.name);
    return {
      network,
      address,
      prefixLength: folder.prefixLength,
      mac,
      get names() {
        return names;
      },
      containers: new FolderNames(network.name, folder),
      bridge: { name: bridgeName(network), ...(namespacePid !== 0 && { namespacePid }) },
      tapName: `tsvm${randomHex(4)}`,
      rename: (name) => {
        names = namesWith(name);
        tell(name);
      },
      leave: async () => {
        folder.removeEndpoint(address);
        claim.release();
        closeSync(fd);
        if (!isHeld(folder)) await removeUnheldBridge(network, folder);
      },
    };
  } catch (error) {
    claim.release();
    throw error;
  }
}

async function becomeMember(
  network: NetworkRecord,
  folder: NetworkFolder,
): Promise<{ fd: number; namespacePid: number }> {
  const deadline = Date.now() + REMOVAL_TIMEOUT_MS;
  let fd = folder.openMembership();
  // A holder that was killed while it looked leaves its FIFO for ever.
  while (fd === undefined && folder.isBeingRemoved && Date.now() < deadline) {
    await sleep(POLL_MS);
    fd = folder.openMembership();
  }
  fd ??= await startHolder(network, folder);
  return { fd, namespacePid: folder.readHolder().namespacePid };
}

/** As Docker makes it of the address: unique on the network. */
function macOf(address: string): string {
  const number = ipv4Number(address) ?? 0;
  const bytes = [0x02, 0x42, ...[24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff)];
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** The runtime folder of a network. */
export function networkFolder(network: NetworkRecord): NetworkFolder {
  return new NetworkFolder(networksRuntimeFolder(), network);
}

/**
 * Removes the bridge of a network without members, if it is there still: its holder is about to remove it,
 * or was killed. The caller has the folder's lock.
 */
export async function removeLeftBridge(
  network: NetworkRecord,
  folder: NetworkFolder,
): Promise<void> {
  const deadline = Date.now() + REMOVAL_TIMEOUT_MS;
  while (isHeld(folder) && Date.now() < deadline) await sleep(POLL_MS);
  removeBridge(network);
}

/** Removes what killed holders have left of networks without members. */
export async function cleanNetworks(store: NetworkStore = openNetworkStore()): Promise<void> {
  const ids = new Set(namesIn(networksRuntimeFolder()));
  if (ids.size === 0) return;
  for (const record of store.list()) {
    if (!ids.has(record.id)) continue;
    const folder = networkFolder(record);
    if (!isHeld(folder)) await removeUnheldBridge(record, folder);
  }
}

/** Whether there is a holder, which removes the bridge after the last member. */
function isHeld(folder: NetworkFolder): boolean {
  const fd = folder.openMembership();
  if (fd !== undefined) closeSync(fd);
  return fd !== undefined || folder.isBeingRemoved;
}

/** Removes the bridge of a holder that was killed, if the network has no members. */
async function removeUnheldBridge(network: NetworkRecord, folder: NetworkFolder): Promise<void> {
  await folder.changing(async () => {
    if (!isHeld(folder) && folder.endpoints().length === 0) removeBridge(network);
  });
}
