import type { Volume } from '../../disk-source.ts';
import { ExtentList } from '../extent-list.ts';
import type { FatGeometry } from './boot-sector.ts';

const FIRST_CLUSTER = 2;

/**
 * Follows a chain in the table of clusters: "FAT Data Structure".
 * @param clustersMax stop after so many, because the file needs no more
 * @throws TsvmError `invalid-disk` for a chain that loops or leaves the volume
 */
export function readChain(
  volume: Volume,
  geometry: FatGeometry,
  first: number,
  clustersMax: number,
  what: string,
): { extents: ExtentList; clusters: number } {
  // Offsets of clusters need not be multiples of their size, so the "blocks" begin with the data.
  const data = volume.part(geometry.dataOffset);
  const extents = new ExtentList(data, geometry.clusterBytes, what);
  let clusters = 0;
  let at = first;
  while (clusters < clustersMax && !isEnd(at, geometry)) {
    if (at < FIRST_CLUSTER || at >= FIRST_CLUSTER + geometry.clusters) {
      throw volume.invalid(`${what}: there is no cluster ${at}`);
    }
    if (clusters === geometry.clusters) throw volume.invalid(`${what}: its clusters loop`);
    extents.add({ fileBlock: clusters, count: 1, volumeBlock: at - FIRST_CLUSTER });
    clusters++;
    at = nextCluster(volume, geometry, at);
  }
  return { extents, clusters };
}

/** End marks are 0xff8 and above, in as many bits as the table has. */
function isEnd(cluster: number, { bits }: FatGeometry): boolean {
  return cluster >= { 12: 0xff8, 16: 0xfff8, 32: 0xffffff8 }[bits];
}

function nextCluster(volume: Volume, { bits, tableOffset }: FatGeometry, cluster: number): number {
  const offset = tableOffset + Math.floor((cluster * bits) / 8);
  const what = 'table of clusters';
  if (bits === 32) return volume.read(offset, 4, what).u32(0) & 0xfffffff;
  const word = volume.read(offset, 2, what).u16(0);
  if (bits === 16) return word;
  return cluster % 2 === 0 ? word & 0xfff : word >> 4;
}
