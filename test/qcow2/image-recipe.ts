/** Recipes of random images with every option of the format, from a seed. */
import type { Random } from '../support/random.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

export interface ImageOptions {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly refcountBits: number;
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
  readonly dataFile: 'none' | 'plain' | 'raw';
  readonly compression: 'zlib' | 'zstd';
  readonly preallocation: 'off' | 'metadata' | 'falloc' | 'full';
  readonly sizeBytes: number;
}

export type Layer =
  | { readonly format: 'raw'; readonly sizeBytes: number }
  | ({ readonly format: 'qcow2' } & ImageOptions);

export interface ImageRecipe {
  /** The backing images, deepest first. */
  readonly backing: readonly Layer[];
  readonly image: ImageOptions;
  /** Who creates the image under test: each engine its own, or QEMU both. */
  readonly creator: 'each' | 'qemu';
  /** For our engine; undefined for its default. */
  readonly cacheBytes: number | undefined;
}

/** @param index index of the image in its run; some indices are special */
export function randomRecipe(random: Random, index: number): ImageRecipe {
  const depth = index % 100 === 99 ? 10 : random.pick([0, 0, 0, 0, 1, 1, 2, 3]);
  const image = randomOptions(random, depth > 0);
  const backing: Layer[] = [];
  for (let level = 0; level < depth; level++) {
    const sizeBytes = random.chance(0.5) ? image.sizeBytes : randomSize(random, 64 * KIB);
    const layer: Layer =
      level === 0 && random.chance(0.4)
        ? { format: 'raw', sizeBytes }
        : { format: 'qcow2', ...randomOptions(random, level > 0), sizeBytes };
    backing.push({ ...layer, sizeBytes: Math.min(layer.sizeBytes, 16 * MIB) });
  }
  const clusterBytes = 2 ** image.clusterBits;
  return {
    backing,
    image,
    creator: random.pick(['each', 'qemu']),
    cacheBytes: random.chance(0.3) ? random.between(2, 8) * clusterBytes : undefined,
  };
}

/** An image small enough to be read thousands of times: a few hundred KiB. */
export function randomSmallImage(random: Random, hasBacking: boolean): ImageOptions {
  const options = randomOptions(random, hasBacking);
  const clusterBits = options.extendedL2 ? 14 : random.between(9, 13);
  const sizeBytes = random.between(8, 24 * 2 ** (Math.min(clusterBits, 13) - 9)) * 512;
  return { ...options, clusterBits, sizeBytes, preallocation: 'off' };
}

function randomOptions(random: Random, hasBacking: boolean): ImageOptions {
  const version = random.chance(0.2) ? 2 : 3;
  const v3 = version === 3;
  const clusterBits = random.chance(0.4) ? random.between(9, 12) : random.between(9, 21);
  const extendedL2 = v3 && clusterBits >= 14 && random.chance(0.4);
  const hasDataFile = v3 && random.chance(0.15);
  const dataFile = !hasDataFile ? 'none' : hasBacking || random.chance(0.5) ? 'plain' : 'raw';
  const clusterBytes = 2 ** clusterBits;
  // QEMU preallocates images with a backing file only with extended L2 entries, which can refer to
  // it.
  const preallocates = (!hasBacking || extendedL2) && random.chance(0.3);
  const isHuge = !preallocates && dataFile === 'none' && random.chance(0.05);
  return {
    version,
    clusterBits,
    refcountBits: v3 ? 2 ** random.between(0, 6) : 16,
    lazyRefcounts: v3 && random.chance(0.2),
    extendedL2,
    dataFile,
    compression: v3 && random.chance(0.4) ? 'zstd' : 'zlib',
    preallocation: preallocates ? random.pick(['metadata', 'falloc', 'full']) : 'off',
    sizeBytes: isHuge ? hugeSize(random, clusterBytes) : randomSize(random, clusterBytes),
  };
}

/** A few clusters to a few L2 tables, or a multiple only of the sector size. */
function randomSize(random: Random, clusterBytes: number): number {
  const most = clusterBytes >= MIB ? 8 * clusterBytes : Math.min(4 * MIB, 1024 * clusterBytes);
  if (random.chance(0.5)) return random.between(1, most / clusterBytes) * clusterBytes;
  return random.between(1, most / 512) * 512;
}

/** Up to 1 TiB, with an L1 table of 256 KiB at most. */
function hugeSize(random: Random, clusterBytes: number): number {
  const l2SpanBytes = clusterBytes * (clusterBytes / 16);
  return random.between(2, Math.min(2 ** 15, 2 ** 40 / l2SpanBytes)) * l2SpanBytes;
}

/** `-o` of qemu-img create. `dataFileName`: as in the header. */
export function createOptions(options: ImageOptions, dataFileName: string): string {
  const on = (value: boolean): string => (value ? 'on' : 'off');
  const words = [
    `compat=${options.version === 2 ? '0.10' : '1.1'}`,
    `cluster_size=${2 ** options.clusterBits}`,
    `preallocation=${options.preallocation}`,
  ];
  if (options.version === 3) {
    words.push(
      `refcount_bits=${options.refcountBits}`,
      `lazy_refcounts=${on(options.lazyRefcounts)}`,
      `extended_l2=${on(options.extendedL2)}`,
      `compression_type=${options.compression}`,
    );
    if (options.dataFile !== 'none') {
      words.push(`data_file=${dataFileName}`, `data_file_raw=${on(options.dataFile === 'raw')}`);
    }
  }
  return words.join(',');
}
