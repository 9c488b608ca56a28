/**
 * Networks of `tsvm network create`: `DATA/networks/ID.json`, a file each. A lock orders changes, so
 * that names are unique and subnets do not overlap.
 */
import { closeSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TsvmError } from '../../errors.ts';
import { replaceFile } from '../../host/atomic-file.ts';
import { tryLockFile } from '../../host/file-locks.ts';
import { dataFolder } from '../../host/folders.ts';
import { hostFiles } from '../../host/host-files.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { randomHex } from '../../host/random.ts';
import { hasCode } from '../../util/error-code.ts';
import {
  contains,
  type Ipv4Subnet,
  ipv4Number,
  ipv4Text,
  overlap,
  parseSubnet,
  subnetText,
} from './ipv4-subnet.ts';

const RECORD_VERSION = 1;
const LOCK_WAIT_MS = 10;
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** From which a network without `--subnet` gets one; Docker's. */
const POOLS = [
  ...Array.from({ length: 14 }, (_, index) => `172.${18 + index}.0.0/16`),
  ...Array.from({ length: 16 }, (_, index) => `192.168.${16 * index}.0/20`),
];

export interface NetworkRecord {
  readonly version: typeof RECORD_VERSION;
  /** 64 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  readonly createdMs: number;
  /** Such as `172.18.0.0/16`. */
  readonly subnet: string;
  readonly gateway: string;
  /** From which containers get addresses, if not from all of the subnet. */
  readonly ipRange?: string | undefined;
  /** The user chose the subnet, and may choose addresses in it. */
  readonly givenSubnet: boolean;
  /** Containers reach each other, but not the outside. */
  readonly internal: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
}

export interface NewNetwork {
  readonly name: string;
  readonly subnet?: string | undefined;
  readonly gateway?: string | undefined;
  readonly ipRange?: string | undefined;
  readonly internal: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
}

/** Networks that need not be made: the default one, and none. Their IDs are the same on every host. */
export const PREDEFINED: Readonly<
  Record<string, { readonly id: string; readonly driver: string }>
> = {
  bridge: {
    id: 'e109e08b801eef8db9d0d0a38fbd40988883398318c58f5b3fb506acbac127ff',
    driver: 'bridge',
  },
  none: { id: '2b96fc2b5660fab8a22a3457b49be4b5c1851b15238cfe8d3c3694f236bde29b', driver: 'null' },
};

export class NetworkStore {
  readonly folder: string;

  /** @param folder need not exist */
  constructor(folder: string) {
    this.folder = folder;
  }

  /** All of them, by name. */
  list(): NetworkRecord[] {
    const records = this.#ids().flatMap((id) => this.#read(id) ?? []);
    return records.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * Finds a network by its name, its ID or the beginning of its ID.
   * @throws TsvmError `network-not-found`, `network-conflict` when several IDs begin like that
   */
  find(text: string): NetworkRecord {
    const all = this.list();
    const exact = all.find(({ id, name }) => id === text || name === text);
    if (exact !== undefined) return exact;
    const [first, second] = /^[0-9a-f]+$/.test(text)
      ? all.filter(({ id }) => id.startsWith(text))
      : [];
    if (first === undefined) {
      throw new TsvmError('network-not-found', `network ${text} not found`);
    }
    if (second === undefined) return first;
    throw new TsvmError(
      'network-conflict',
      `network ${text} is ambiguous (2 matches found on ID prefix)`,
    );
  }

  /** @throws TsvmError `network-conflict`, `invalid-container` */
  async create(network: NewNetwork): Promise<NetworkRecord> {
    if (!NAME.test(network.name) || network.name.length > 128) {
      throw new TsvmError(
        'invalid-container',
        `invalid network name: ${JSON.stringify(network.name)}`,
      );
    }
    return await this.#changing(() => {
      const all = this.list();
      const isTaken = Object.hasOwn(PREDEFINED, network.name) || network.name === 'host';
      if (isTaken || all.some(({ name }) => name === network.name)) {
        throw new TsvmError('network-conflict', `network with name ${network.name} already exists`);
      }
      const subnet = chooseSubnet(network.subnet, all);
      const { internal, ipRange, labels, name, options } = network;
      const record: NetworkRecord = {
        version: RECORD_VERSION,
        id: randomHex(32),
        name,
        createdMs: Date.now(),
        subnet: subnetText(subnet),
        gateway: chooseGateway(network.gateway, subnet),
        ipRange: checkedRange(ipRange, subnet),
        givenSubnet: network.subnet !== undefined,
        internal,
        labels,
        options,
      };
      replaceFile(this.#path(record.id), `${JSON.stringify(record)}\n`);
      return record;
    });
  }

  /** Nobody may be attached to it. */
  async remove(id: string): Promise<void> {
    await this.#changing(() => rmSync(this.#path(id), { force: true }));
  }

  async #changing<T>(work: () => T): Promise<T> {
    makeFolders(this.folder, 0o700);
    const fd = openSync(join(this.folder, 'lock'), 'a+', 0o600);
    try {
      while (!tryLockFile(hostFiles(), fd, true, 0, 0)) await sleep(LOCK_WAIT_MS);
      return work();
    } finally {
      closeSync(fd);
    }
  }

  #path(id: string): string {
    return join(this.folder, `${id}.json`);
  }

  #ids(): string[] {
    try {
      return readdirSync(this.folder).flatMap(
        (file) => /^([0-9a-f]{64})\.json$/.exec(file)?.[1] ?? [],
      );
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    }
  }

  #read(id: string): NetworkRecord | undefined {
    try {
      const record: NetworkRecord = JSON.parse(readFileSync(this.#path(id), 'utf8'));
      if (record.version === RECORD_VERSION && record.id === id) return record;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw new TsvmError(
      'store-failed',
      `${this.#path(id)} is damaged, or of another version of tsvm: remove it`,
    );
  }
}

function chooseSubnet(given: string | undefined, others: readonly NetworkRecord[]): Ipv4Subnet {
  const taken = [...others.map(({ subnet }) => parseSubnet(subnet)), ...hostSubnets()].filter(
    (subnet) => subnet !== undefined,
  );
  if (given === undefined) {
    for (const pool of POOLS) {
      const subnet = parseSubnet(pool);
      if (subnet !== undefined && !taken.some((other) => overlap(subnet, other))) return subnet;
    }
    throw new TsvmError(
      'network-conflict',
      'all predefined address pools have been fully subnetted: remove networks, or give --subnet',
    );
  }
  const subnet = parseSubnet(given);
  if (subnet === undefined) {
    throw new TsvmError(
      'invalid-container',
      `invalid subnet ${given}: give an IPv4 network such as 10.89.0.0/24`,
    );
  }
  if (taken.some((other) => overlap(subnet, other))) {
    throw new TsvmError(
      'network-conflict',
      `invalid pool request: Pool overlaps with other one on this address space (${given})`,
    );
  }
  return subnet;
}

/** Of the host's interfaces, which its own traffic goes to. */
function hostSubnets(): Ipv4Subnet[] {
  const cidrs = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return cidrs.flatMap(({ cidr, family }) => {
    return family === 'IPv4' && cidr !== null ? (parseSubnet(cidr) ?? []) : [];
  });
}

function chooseGateway(given: string | undefined, subnet: Ipv4Subnet): string {
  if (given === undefined) return ipv4Text(subnet.base + 1);
  const address = ipv4Number(given);
  if (address !== undefined && contains(subnet, address) && address !== subnet.base) return given;
  throw new TsvmError(
    'invalid-container',
    `no matching subnet for gateway ${given}: it is not in ${subnetText(subnet)}`,
  );
}

function checkedRange(given: string | undefined, subnet: Ipv4Subnet): string | undefined {
  if (given === undefined) return undefined;
  const range = parseSubnet(given);
  if (
    range !== undefined &&
    contains(subnet, range.base) &&
    range.prefixLength >= subnet.prefixLength
  ) {
    return subnetText(range);
  }
  throw new TsvmError(
    'invalid-container',
    `no matching subnet for range ${given}: it is not in ${subnetText(subnet)}`,
  );
}

/**
 * The user's networks. Nothing is opened or made yet.
 * @throws TsvmError `store-failed` for a user without a home folder
 */
export function openNetworkStore(): NetworkStore {
  const data = dataFolder();
  if (data !== undefined) return new NetworkStore(join(data, 'networks'));
  throw new TsvmError(
    'store-failed',
    'no folder for networks: set HOME, XDG_DATA_HOME or TSVM_DATA_FOLDER',
  );
}
