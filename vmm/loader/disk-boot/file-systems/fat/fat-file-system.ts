import { once } from '../../../../util/once.ts';
import type { Volume } from '../../disk-source.ts';
import { Fields } from '../../fields.ts';
import type { DirectoryEntry, FileSystem, Inode } from '../file-system.ts';
import { type FatGeometry, readGeometry } from './boot-sector.ts';
import { readChain } from './cluster-chain.ts';
import { type FatEntry, parseFatDirectory } from './fat-directory.ts';

/** "FAT Directory Structure": a directory has at most 2^16 entries of 32 bytes. */
const DIRECTORY_BYTES_MAX = 2 ** 21;

/** FAT12, FAT16 or FAT32. @throws TsvmError `invalid-disk` */
export function openFat(volume: Volume): FileSystem {
  const geometry = readGeometry(volume);
  const { uuid, label } = geometry;
  const root: FatEntry = {
    name: '/',
    isDirectory: true,
    firstCluster: geometry.rootCluster,
    sizeBytes: 0,
  };
  const inode = new FatInode(volume, geometry, root);
  return { type: 'vfat', uuid, label, ignoresCase: true, roots: [{ inode }] };
}

class FatInode implements Inode {
  readonly kind: 'file' | 'directory';
  readonly sizeBytes: number;
  readonly entries: () => readonly DirectoryEntry[];
  readonly #volume: Volume;
  readonly #geometry: FatGeometry;
  readonly #entry: FatEntry;
  readonly #chain: () => ReturnType<typeof readChain>;

  constructor(volume: Volume, geometry: FatGeometry, entry: FatEntry) {
    this.#volume = volume;
    this.#geometry = geometry;
    this.#entry = entry;
    this.kind = entry.isDirectory ? 'directory' : 'file';
    this.sizeBytes = entry.sizeBytes;
    const bytes = entry.isDirectory ? DIRECTORY_BYTES_MAX : entry.sizeBytes;
    const clustersMax = Math.ceil(bytes / geometry.clusterBytes);
    this.#chain = once(() =>
      readChain(volume, geometry, entry.firstCluster, clustersMax, entry.name),
    );
    this.entries = once(() => this.#readEntries());
  }

  read(offset: number, length: number): Uint8Array {
    const { extents, clusters } = this.#chain();
    if (clusters * this.#geometry.clusterBytes < this.sizeBytes) {
      throw this.#volume.invalid(`${this.#entry.name} has fewer clusters than its size needs`);
    }
    return extents.read(offset, length);
  }

  #readEntries(): readonly DirectoryEntry[] {
    const content = this.#directoryContent();
    const { bits } = this.#geometry;
    return parseFatDirectory(content, bits === 32).map((entry) => ({
      name: entry.name,
      open: once(() => new FatInode(this.#volume, this.#geometry, entry)),
    }));
  }

  #directoryContent(): Fields {
    const { rootOffset, rootBytes, clusterBytes } = this.#geometry;
    // Only the root directory of FAT12 and FAT16 has no cluster.
    if (this.#entry.firstCluster === 0) return this.#volume.read(rootOffset, rootBytes, 'root');
    const { extents, clusters } = this.#chain();
    const sizeBytes = clusters * clusterBytes;
    this.#volume.spend(sizeBytes);
    const invalid = (problem: string) => this.#volume.invalid(`${this.#entry.name}: ${problem}`);
    return new Fields(extents.read(0, sizeBytes), invalid, 'little');
  }
}
