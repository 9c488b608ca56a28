/**
 * What is there of a network while containers are attached to it, in `RUNTIME/networks/ID/`:
 *
 * ```
 * lock           orders changes: byte 0; and byte ADDRESS_START + n is the claim of the n-th address of
 *                the subnet, which ends with the process that has it
 * members        a FIFO: the holder reads, each member has it open for writing. When the last member is
 *                gone, however it ended, the holder sees the end of file and removes the network
 * leaving        the FIFO while the holder looks whether it may
 * holder.json    the process in whose namespaces the bridge is
 * endpoints/ADDRESS  an {@link Endpoint}, as JSON
 * ```
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TsvmError } from '../../errors.ts';
import { tryLockFile } from '../../host/file-locks.ts';
import { runtimeFolder, stateFolder } from '../../host/folders.ts';
import { hostFiles } from '../../host/host-files.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { hasCode } from '../../util/error-code.ts';
import {
  contains,
  type Ipv4Subnet,
  ipv4Number,
  ipv4Text,
  parseSubnet,
  subnetSize,
} from './ipv4-subnet.ts';
import type { NetworkRecord } from './network-store.ts';

const CHANGE_BYTE = 0;
const ADDRESS_START = 1;
const LOCK_WAIT_MS = 10;

/** A container on a network. */
export interface Endpoint {
  readonly containerId: string;
  readonly containerName: string;
  readonly address: string;
  readonly mac: string;
  /** All names by which other containers find it. */
  readonly names: readonly string[];
}

export interface HolderRecord {
  /** Of a process in the namespaces; 0: the bridge is in the host's. */
  readonly namespacePid: number;
}

/** An address of a network that this process has until it gives it back. */
export interface AddressClaim {
  readonly address: string;
  release(): void;
}

export class NetworkFolder {
  readonly path: string;
  readonly #subnet: Ipv4Subnet;
  readonly #network: NetworkRecord;

  constructor(root: string, network: NetworkRecord) {
    const subnet = parseSubnet(network.subnet);
    if (subnet === undefined) throw new Error(`a network with the subnet ${network.subnet}`);
    this.path = join(root, network.id);
    this.#network = network;
    this.#subnet = subnet;
  }

  get members(): string {
    return join(this.path, 'members');
  }

  get leaving(): string {
    return join(this.path, 'leaving');
  }

  get lock(): string {
    return join(this.path, 'lock');
  }

  get prefixLength(): number {
    return this.#subnet.prefixLength;
  }

  create(): void {
    makeFolders(join(this.path, 'endpoints'), 0o700);
  }

  /** Runs `work` while nobody else changes what there is of the network. */
  async changing<T>(work: () => Promise<T>): Promise<T> {
    this.create();
    const fd = openSync(this.lock, 'a+', 0o600);
    try {
      while (!tryLockFile(hostFiles(), fd, true, CHANGE_BYTE, 1)) await sleep(LOCK_WAIT_MS);
      return await work();
    } finally {
      closeSync(fd);
    }
  }

  /**
   * Opens the FIFO that says that this process is a member.
   * @returns undefined when nobody holds the network
   */
  openMembership(): number | undefined {
    let fd: number;
    try {
      fd = openSync(this.members, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      if (hasCode(error, 'ENXIO', 'ENOENT')) return undefined;
      throw error;
    }
    // The holder takes the name away before it looks whether it may remove the network.
    const named = statSync(this.members, { throwIfNoEntry: false });
    if (named !== undefined && named.ino === fstatSync(fd).ino) return fd;
    closeSync(fd);
    return undefined;
  }

  get isBeingRemoved(): boolean {
    return existsSync(this.leaving);
  }

  writeHolder(record: HolderRecord): void {
    writeFileSync(join(this.path, 'holder.json'), JSON.stringify(record));
  }

  readHolder(): HolderRecord {
    return JSON.parse(readFileSync(join(this.path, 'holder.json'), 'utf8'));
  }

  /**
   * Takes an address.
   * @param wanted the one that the user asks for
   * @throws TsvmError `network-unavailable`, `invalid-container`
   */
  claimAddress(wanted: string | undefined): AddressClaim {
    this.create();
    if (wanted !== undefined) return this.#claimWanted(wanted);
    const range = parseSubnet(this.#network.ipRange ?? '') ?? this.#subnet;
    const last = range.base + subnetSize(range) - 1;
    for (let address = range.base; address <= last; address++) {
      if (!this.#isForHosts(address)) continue;
      const claim = this.#claim(address);
      if (claim !== undefined) return claim;
    }
    throw new TsvmError(
      'network-unavailable',
      `no available IPv4 addresses on network ${this.#network.name} (${this.#network.subnet})`,
    );
  }

  #claimWanted(text: string): AddressClaim {
    const address = ipv4Number(text);
    if (!this.#network.givenSubnet) {
      throw new TsvmError(
        'invalid-container',
        'user specified IP address is supported only when connecting to networks with user configured subnets',
      );
    }
    if (address === undefined || !contains(this.#subnet, address) || !this.#isForHosts(address)) {
      throw new TsvmError(
        'invalid-container',
        `no configured subnet or ip-range contain the IP address ${text}`,
      );
    }
    const claim = this.#claim(address);
    if (claim !== undefined) return claim;
    throw new TsvmError('network-unavailable', `Address already in use: ${text}`);
  }

  #isForHosts(address: number): boolean {
    const { base } = this.#subnet;
    const isEnd = address === base || address === base + subnetSize(this.#subnet) - 1;
    return !isEnd && ipv4Text(address) !== this.#network.gateway;
  }

  #claim(address: number): AddressClaim | undefined {
    const fd = openSync(this.lock, 'a+', 0o600);
    const byte = ADDRESS_START + address - this.#subnet.base;
    if (tryLockFile(hostFiles(), fd, true, byte, 1)) {
      return { address: ipv4Text(address), release: () => closeSync(fd) };
    }
    closeSync(fd);
    return undefined;
  }

  /** Whether a process has the address. */
  isClaimed(address: string): boolean {
    const number = ipv4Number(address);
    if (number === undefined) return false;
    const fd = openSync(this.lock, 'a+', 0o600);
    try {
      return hostFiles().isFileLocked(fd, true, ADDRESS_START + number - this.#subnet.base, 1);
    } finally {
      closeSync(fd);
    }
  }

  /** Makes an endpoint known. */
  addEndpoint(endpoint: Endpoint): void {
    const temporary = join(this.path, `endpoint-${endpoint.address}`);
    writeFileSync(temporary, JSON.stringify(endpoint));
    renameSync(temporary, join(this.path, 'endpoints', endpoint.address));
  }

  removeEndpoint(address: string): void {
    rmSync(join(this.path, 'endpoints', address), { force: true });
  }

  /** When endpoints were added or removed last; 0: never. */
  get changedMs(): number {
    return statSync(join(this.path, 'endpoints'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  }

  /** Containers that are attached. Those of processes that were killed are forgotten. */
  endpoints(): Endpoint[] {
    if (!existsSync(this.lock)) return [];
    return namesIn(join(this.path, 'endpoints')).flatMap((address) => {
      if (!this.isClaimed(address)) {
        this.removeEndpoint(address);
        return [];
      }
      try {
        return [
          JSON.parse(readFileSync(join(this.path, 'endpoints', address), 'utf8')) as Endpoint,
        ];
      } catch (error) {
        if (error instanceof SyntaxError || hasCode(error, 'ENOENT')) return [];
        throw error;
      }
    });
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** @throws TsvmError `store-failed` for a user without any folder of their own */
export function networksRuntimeFolder(): string {
  const state = stateFolder();
  const runtime = runtimeFolder() ?? (state && join(state, 'run'));
  if (runtime !== undefined) return join(runtime, 'networks');
  throw new TsvmError('store-failed', 'no folder for networks: set XDG_RUNTIME_DIR or HOME');
}
