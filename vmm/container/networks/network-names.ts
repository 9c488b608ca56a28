import type { NetworkFolder } from './network-folder.ts';

/** Names of the containers on a network. */
export interface NetworkNames {
  /** @param name in lower case; may end with the network's name, as in `db.front` */
  addressesOf(name: string): string[];
  /** As Docker: the container's name and the network's. */
  nameOf(address: string): string | undefined;
}

/** Within it, two changes of a folder may have the same time. */
const SAME_TIME_MS = 100;

interface Names {
  /** When the folder had changed, as it was read. */
  readonly changedMs: number;
  readonly readMs: number;
  readonly addresses: ReadonlyMap<string, readonly string[]>;
  readonly names: ReadonlyMap<string, string>;
}

/** What is in a network's folder. It is read when it has changed, and somebody asks. */
export class FolderNames implements NetworkNames {
  readonly #network: string;
  readonly #folder: NetworkFolder;
  #names: Names | undefined;

  /** @param network its name */
  constructor(network: string, folder: NetworkFolder) {
    this.#network = network;
    this.#folder = folder;
  }

  addressesOf(name: string): string[] {
    const ending = `.${this.#network.toLowerCase()}`;
    const short = name.endsWith(ending) ? name.slice(0, -ending.length) : name;
    const { addresses } = this.#read();
    const found = addresses.get(name) ?? addresses.get(short) ?? [];
    // A container that was killed may be there still.
    return found.filter((address) => this.#folder.isClaimed(address));
  }

  nameOf(address: string): string | undefined {
    const name = this.#read().names.get(address);
    if (name === undefined || !this.#folder.isClaimed(address)) return undefined;
    return `${name}.${this.#network}`;
  }

  #read(): Names {
    const { changedMs } = this.#folder;
    const known = this.#names;
    const isCurrent = known?.changedMs === changedMs && known.readMs > changedMs + SAME_TIME_MS;
    if (isCurrent) return known;
    const readMs = Date.now();
    const addresses = new Map<string, string[]>();
    const names = new Map<string, string>();
    for (const endpoint of this.#folder.endpoints()) {
      names.set(endpoint.address, endpoint.containerName);
      for (const name of new Set(endpoint.names.map((text) => text.toLowerCase()))) {
        addresses.set(name, [...(addresses.get(name) ?? []), endpoint.address]);
      }
    }
    const read = { changedMs, readMs, addresses, names };
    this.#names = read;
    return read;
  }
}
