/** qcow2 images that QEMU's tools create from a seed, and damage to their metadata. */
import { rm } from 'node:fs/promises';
import type { ImageFile } from '../../vmm/backends/disk/file/image-file.ts';
import { geometryOf } from '../../vmm/backends/disk/image/qcow2/header/geometry.ts';
import { parseHeader } from '../../vmm/backends/disk/image/qcow2/header/header.ts';
import type { Header } from '../../vmm/backends/disk/image/qcow2/header/header-fields.ts';
import { hostOffset } from '../../vmm/backends/disk/image/qcow2/map/l2-entry.ts';
import { qemuImg, qemuImgOutput } from './qemu-img.ts';
import { QemuIo } from './qemu-io.ts';
import type { Random } from './random.ts';

const UNIT = 65_536;

/** Creates an image with data, zeroes, compressed clusters, snapshots and bitmaps. */
export async function buildImage(random: Random, path: string): Promise<void> {
  const version = random.chance(0.2) ? 2 : 3;
  const extendedL2 = version === 3 && random.chance(0.25);
  const dataFile = version === 3 && random.chance(0.15);
  const clusterBytes = 2 ** random.pick(extendedL2 ? [14, 16] : [9, 10, 12, 16]);
  const sizeBytes = random.between(1, 64) * UNIT;
  const options = [`cluster_size=${clusterBytes}`, `compat=${version === 2 ? '0.10' : '1.1'}`];
  if (version === 3) options.push(`refcount_bits=${2 ** random.below(7)}`);
  if (extendedL2) options.push('extended_l2=on');
  if (random.chance(0.2)) options.push('preallocation=metadata');
  if (dataFile) options.push(`data_file=${path}.data`);
  await rm(`${path}.data`, { force: true });
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', options.join(','), path, `${sizeBytes}`);
  const rounds = random.between(1, 3);
  for (let round = 0; round < rounds; round++) {
    const commands = Array.from({ length: random.between(1, 12) }, () =>
      ioCommand(random, sizeBytes, clusterBytes),
    );
    const io = new QemuIo();
    // Operations that the format does not support fail, which does not matter here.
    await io.ask(`open -f qcow2 ${path}`, ...commands);
    await io.end();
    if (random.chance(0.4)) await qemuImg('snapshot', '-c', `snapshot ${round}`, path);
    if (random.chance(0.2)) await qemuImg('bitmap', '--add', path, `bitmap ${round}`);
  }
}

function ioCommand(random: Random, sizeBytes: number, clusterBytes: number): string {
  const length = Math.min(sizeBytes, 512 * random.between(1, 200));
  const offset = random.below((sizeBytes - length) / 512 + 1) * 512;
  const command = random.pick(['write', 'write', 'zero', 'unmap', 'discard', 'compress']);
  switch (command) {
    case 'compress': {
      const start = random.below(Math.floor(sizeBytes / clusterBytes)) * clusterBytes;
      return `write -c -P ${random.below(256)} ${start} ${clusterBytes}`;
    }
    case 'zero':
      return `write -z ${offset} ${length}`;
    case 'unmap':
      return `write -zu ${offset} ${length}`;
    case 'discard':
      return `discard ${offset} ${length}`;
    default:
      return `write -P ${random.below(256)} ${offset} ${length}`;
  }
}

/** Offsets of an image's metadata. */
interface MetadataMap {
  readonly header: Header;
  readonly clusterBytes: number;
  readonly l2Tables: readonly number[];
  readonly refcountBlocks: readonly number[];
  readonly fileBytes: number;
}

function mapMetadata(file: ImageFile): MetadataMap {
  const header = parseHeader(file);
  const { clusterBytes } = geometryOf(header);
  const offsets = (start: number, entries: number) => {
    const table = Buffer.alloc(entries * 8);
    file.readSync(start, table);
    return Array.from({ length: entries }, (_, index) =>
      hostOffset(table.readUInt32BE(index * 8), table.readUInt32BE(index * 8 + 4)),
    ).filter((offset) => offset !== 0);
  };
  const refcountEntries = (header.refcountTableClusters * clusterBytes) / 8;
  return {
    header,
    clusterBytes,
    l2Tables: offsets(header.l1Offset, header.l1Entries),
    refcountBlocks: offsets(header.refcountTableOffset, refcountEntries),
    fileBytes: file.sizeBytes(),
  };
}

/** Changes an image's metadata in one to three places, which may make it invalid. */
export function damageImage(random: Random, file: ImageFile): void {
  const map = mapMetadata(file);
  const places = random.between(1, 3);
  for (let place = 0; place < places; place++) damageOnce(random, file, map);
}

function damageOnce(random: Random, file: ImageFile, map: MetadataMap): void {
  const { header, clusterBytes, l2Tables, refcountBlocks } = map;
  const clusters = Math.ceil(map.fileBytes / clusterBytes);
  const entryBytes = header.extendedL2 ? 16 : 8;
  const l2Entries = Math.min(clusterBytes / entryBytes, Math.ceil(header.sizeBytes / clusterBytes));
  const kind = random.pick(['refcount', 'l2 offset', 'l2 bit', 'l1', 'refcount table', 'sector']);
  if (kind === 'refcount' && refcountBlocks.length > 0) {
    const used = Math.min(clusterBytes, Math.ceil((clusters * header.refcountBits) / 8));
    const value = random.pick([0, 1, 2, 255, random.below(256)]);
    file.writeSync(random.pick(refcountBlocks) + random.below(used), Uint8Array.of(value));
  } else if (kind === 'l2 offset' && l2Tables.length > 0) {
    const at = random.pick(l2Tables) + random.below(l2Entries) * entryBytes;
    const flags = readEntry(file, at) & 0xc000_0000_0000_01ffn;
    writeEntry(file, at, flags | someOffset(random, map));
  } else if (kind === 'l2 bit' && l2Tables.length > 0) {
    const at = random.pick(l2Tables) + random.below(l2Entries * entryBytes);
    const byte = new Uint8Array(1);
    file.readSync(at, byte);
    file.writeSync(
      at,
      byte.map((value) => value ^ (1 << random.below(8))),
    );
  } else if (kind === 'l1' && header.l1Entries > 0) {
    const flags = random.pick([0n, 1n << 63n, 1n, 1n << 60n]);
    const offset = random.chance(0.5) ? someOffset(random, map) : BigInt(l2Tables[0] ?? 0);
    writeEntry(file, header.l1Offset + 8 * random.below(header.l1Entries), flags | offset);
  } else if (kind === 'refcount table') {
    const value = random.pick([0n, 1n, someOffset(random, map)]);
    writeEntry(file, header.refcountTableOffset + 8 * random.below(2), value);
  } else if (kind === 'sector' && clusters > 1) {
    file.writeSync(random.between(1, clusters - 1) * clusterBytes, new Uint8Array(512));
  }
}

/** A multiple of 512 in the file or beyond its end, possibly at the start of a cluster. */
function someOffset(random: Random, { clusterBytes, fileBytes }: MetadataMap): bigint {
  const clusters = Math.ceil(fileBytes / clusterBytes);
  const aligned = random.below(clusters) * clusterBytes;
  const unaligned = random.below(Math.floor(fileBytes / 512)) * 512;
  const behind = (clusters + random.below(4)) * clusterBytes;
  return BigInt(random.pick([aligned, aligned, aligned, unaligned, behind, behind * 7000]));
}

function readEntry(file: ImageFile, at: number): bigint {
  const entry = Buffer.alloc(8);
  file.readSync(at, entry);
  return entry.readBigUInt64BE();
}

function writeEntry(file: ImageFile, at: number, value: bigint): void {
  const entry = Buffer.alloc(8);
  entry.writeBigUInt64BE(value);
  file.writeSync(at, entry);
}
