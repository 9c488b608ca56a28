/**
 * Hostile bytes for whatever reads images: manifests, configurations, tar headers, extended headers,
 * sparse maps, and zstd and gzip streams. Good ones are spoiled at random; each is taken or refused
 * with an error of ours, and what was taken can be written as a root file system.
 *
 * ```
 * node test/container/fuzz.ts SECONDS [SEED]
 * ```
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { parseImageConfig } from '../../vmm/container/image-config.ts';
import { ingestLayer } from '../../vmm/container/layer/ingest.ts';
import { parseManifest } from '../../vmm/container/manifest.ts';
import { parseReference } from '../../vmm/container/reference.ts';
import { parseChallenges } from '../../vmm/container/registry/challenge.ts';
import { writeRootfs } from '../../vmm/container/rootfs/build-rootfs.ts';
import { StoreFolders } from '../../vmm/container/store/folders.ts';
import { TsvmError } from '../../vmm/errors.ts';
import { makeImage } from '../support/image-maker.ts';
import { storeFaults } from '../support/own-store.ts';
import { Random } from '../support/random.ts';
import { checksum, makeTar } from '../support/tar-maker.ts';
import { generateLayers } from './layer-generator.ts';

/** Of the processor: a busy machine may let an input wait for long. */
const INPUT_CPU_MS_MAX = 5000;
const LIMITS = { layerBytesMax: 2 ** 24, freeBytesMin: 0 };
const TOKENS = [
  '-1',
  '9'.repeat(25),
  '0',
  '18446744073709551615',
  '../..',
  '\0',
  '\xff',
  '{',
  '[',
  'null',
  '\n',
];

const spoilers: readonly ((bytes: Buffer, random: Random) => Buffer)[] = [
  (bytes, random) => {
    const at = random.below(bytes.length);
    bytes[at] = random.below(256);
    return bytes;
  },
  (bytes, random) => {
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, random.below(bytes.length) + 1),
  (bytes, random) => {
    const token = Buffer.from(random.pick(TOKENS), 'latin1');
    const at = random.below(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), token, bytes.subarray(at)]);
  },
  (bytes, random) => {
    const token = Buffer.from(random.pick(TOKENS), 'latin1');
    token.copy(bytes, random.below(bytes.length));
    return bytes;
  },
  (bytes, random) => {
    const [from, to] = [random.below(bytes.length), random.below(bytes.length)];
    bytes.copyWithin(to, from, from + random.below(600));
    return bytes;
  },
];

function spoiled(bytes: Buffer, random: Random): Buffer {
  let result: Buffer = Buffer.from(bytes);
  for (let times = random.between(1, 4); times > 0 && result.length > 0; times--) {
    result = random.pick(spoilers)(result, random);
  }
  return result;
}

/** The checksum of a damaged header is corrected; otherwise the code after its check would not run. */
function spoiledTar(random: Random): Buffer {
  const layers = generateLayers(random);
  const sparse = { 'GNU.sparse.size': '5000', 'GNU.sparse.map': '0,10,4000,20' };
  const extra = makeTar([
    { name: 's', data: 'x'.repeat(600), pax: sparse },
    { name: 'o', type: 'S', data: 'y' },
  ]);
  const tar = Buffer.from(random.chance(0.3) ? extra : random.pick(layers));
  for (let times = random.between(1, 6); times > 0; times--) {
    const block = 512 * random.below(tar.length / 512);
    const header = tar.subarray(block, block + 512);
    spoiled(header, random).copy(header);
    if (random.chance(0.8)) checksum(header);
  }
  return random.chance(0.1) ? tar.subarray(0, random.below(tar.length)) : tar;
}

type Target = (random: Random, folder: string) => void | Promise<void>;

const image = makeImage({ layers: [makeTar([{ name: 'a', data: 'a' }])] });
const config = image.blobs.get(image.config) ?? Buffer.alloc(0);

const targets: Readonly<Record<string, Target>> = {
  manifest: (random) => void parseManifest(spoiled(image.manifestBytes, random)),
  config: (random) => void parseImageConfig(spoiled(config, random)),
  reference: (random) => {
    parseReference(
      spoiled(Buffer.from('localhost:5000/a/b:tag@sha256:abc'), random).toString('latin1'),
    );
  },
  challenge: (random) => {
    parseChallenges(
      spoiled(
        Buffer.from('Bearer realm="https://x/y",service="a",scope="b", Basic realm=z'),
        random,
      ).toString('latin1'),
    );
  },
  tar: (random, folder) => {
    const paths = Array.from({ length: random.between(1, 3) }, (_, index) => {
      const path = join(folder, `${index}.tar`);
      writeFileSync(path, spoiledTar(random));
      return path;
    });
    const fd = openSync(join(folder, 'image'), 'w');
    try {
      writeRootfs(paths, fd, Buffer.alloc(16), random.pick(['referred', 'copied']));
    } finally {
      closeSync(fd);
    }
  },
  stream: async (random, folder) => {
    const plain = random.pick(generateLayers(random));
    const frames = [
      zstdCompressSync(plain.subarray(0, 700)),
      zstdCompressSync(plain.subarray(700)),
    ];
    const packed = random.chance(0.5) ? gzipSync(plain) : Buffer.concat(frames);
    const bytes = spoiled(packed, random);
    const folders = new StoreFolders(join(folder, 'store'));
    folders.create();
    async function* pieces(): AsyncGenerator<Buffer> {
      for (let at = 0; at < bytes.length; ) {
        const end = at + random.between(1, 5000);
        yield bytes.subarray(at, end);
        at = end;
      }
    }
    const source = { bytes: pieces(), blob: undefined, diffId: undefined, name: 'the layer' };
    const refusal = await ingestLayer(source, folders, LIMITS).then(
      () => undefined,
      (error: unknown) => error,
    );
    const faults = storeFaults(folders.root);
    rmSync(folders.root, { recursive: true });
    if (faults.length > 0) throw new Error(faults.join('\n'));
    if (refusal !== undefined) throw refusal;
  },
};

/** @throws Error for the first input that does what none may do, with the way to do it again */
export async function fuzzImages(
  seconds: number,
  firstSeed: number,
): Promise<Record<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-fuzz-'));
  const counts: Record<string, number> = { taken: 0, refused: 0 };
  const names = Object.keys(targets);
  const endMs = performance.now() + 1000 * seconds;
  try {
    for (let seed = firstSeed; performance.now() < endMs; seed++) {
      const name = names[seed % names.length] ?? '';
      const before = process.cpuUsage();
      let outcome = 'taken';
      try {
        await targets[name]?.(new Random(seed), folder);
      } catch (error) {
        if (!(error instanceof TsvmError)) {
          throw new Error(`${name}: node test/container/fuzz.ts 0.001 ${seed}`, { cause: error });
        }
        outcome = 'refused';
      }
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      const { user, system } = process.cpuUsage(before);
      if ((user + system) / 1000 > INPUT_CPU_MS_MAX) {
        throw new Error(`${name} takes long: node test/container/fuzz.ts 0.001 ${seed}`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return counts;
}

if (import.meta.main) {
  const [, , seconds = '600', seed = String(Date.now() % 2 ** 31)] = process.argv;
  process.stdout.write(
    `from seed ${seed}\n${JSON.stringify(await fuzzImages(Number(seconds), Number(seed)))}\n`,
  );
}
