/** Container images: pull, load, metadata of the root file system, and the list of images. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeImage, writeSkopeoFolder } from '../support/image-maker.ts';
import { startRegistry } from '../support/registry.ts';
import type { Benchmark, Contestant } from './benchmark.ts';
import { imageSpeedBenchmark } from './image-speed.ts';
import { type Command, runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

const LAYERS = 6;
const IMAGE_BYTES = 200_000_000;
const IMAGES = 200;
const NAME = 'bench/image:1';

/** Files of this host, as many as an image of 200 MB contains. */
function makeLayers(folder: string): Buffer[] {
  const listing = execFileSync(
    'find',
    ['/usr', '-xdev', '-type', 'f', '-size', '-8M', '-printf', '%s %P\n'],
    {
      encoding: 'latin1',
      maxBuffer: 2 ** 28,
    },
  );
  const lists: string[][] = Array.from({ length: LAYERS }, () => []);
  let bytes = 0;
  // A step that is coprime to most counts mixes the folders.
  const lines = listing.trim().split('\n').sort();
  for (let index = 0; index < lines.length && bytes < IMAGE_BYTES; index++) {
    const [, size = '0', path = ''] =
      /^(\d+) (.*)$/.exec(lines[(index * 7919) % lines.length] ?? '') ?? [];
    bytes += Number(size);
    lists[index % LAYERS]?.push(path);
  }
  return lists.map((list, index) => {
    const names = join(folder, `layer-${index}.txt`);
    writeFileSync(names, [...new Set(list)].join('\n'), 'latin1');
    return execFileSync('tar', ['--format=pax', '-C', '/usr', '--files-from', names, '-c'], {
      maxBuffer: 2 ** 29,
    });
  });
}

interface Material {
  readonly host: string;
  /** A Docker archive with uncompressed layers, as `podman save` writes it. */
  readonly archive: string;
}

async function prepare(folder: string): Promise<Material> {
  const source = join(folder, 'image');
  if (!existsSync(source)) {
    const partial = `${source}.partial`;
    rmSync(partial, { recursive: true, force: true });
    writeSkopeoFolder(partial, makeImage({ layers: makeLayers(folder) }));
    renameSync(partial, source);
  }
  const archive = join(folder, 'image.tar');
  if (!existsSync(archive)) {
    const partial = `${archive}.partial`;
    execFileSync('skopeo', ['copy', '-q', `dir:${source}`, `docker-archive:${partial}:${NAME}`]);
    renameSync(partial, archive);
  }
  const { host } = await startRegistry({
    after: (end) => process.on('exit', () => (end as () => void)()),
  });
  execFileSync('skopeo', [
    'copy',
    '-q',
    '--dest-tls-verify=false',
    `dir:${source}`,
    `docker://${host}/${NAME}`,
  ]);
  return { host, archive };
}

function timed(
  name: string,
  prepareSample: () => void,
  commands: () => Promise<readonly Command[]>,
): Contestant {
  return {
    name,
    sample: async () => {
      prepareSample();
      const list = await commands();
      execFileSync('sync');
      let totalMs = 0;
      for (const command of list) totalMs += (await runProcess(command)).endMs;
      return totalMs;
    },
  };
}

export function imageBenchmarks(workbench: Workbench): Benchmark[] {
  const { node, root, tsvm } = workbench;
  const folder = join(root, 'build/bench/images');
  mkdirSync(folder, { recursive: true });
  let material: Promise<Material> | undefined;
  const ready = () => {
    material ??= prepare(folder);
    return material;
  };
  const own = (name: string) => join(folder, name);
  const emptied =
    (...names: string[]) =>
    () => {
      for (const name of names) rmSync(own(name), { recursive: true, force: true });
    };
  const tsvmCommand = (...words: string[]): Command => [
    'env',
    `TSVM_DATA_FOLDER=${own('tsvm')}`,
    tsvm,
    ...words,
  ];
  const podman = (...words: string[]): Command => [
    'podman',
    '--root',
    own('podman'),
    '--runroot',
    own('podman-run'),
    '--storage-driver',
    'overlay',
    ...words,
  ];
  const emptyPodman = () => {
    if (existsSync(own('podman')))
      execFileSync('podman', [...podman('rmi', '-fa').slice(1)], { stdio: 'ignore' });
  };
  return [
    {
      name: 'pull an image of 200 MB in 6 layers, ready to boot',
      unit: 'ms',
      contestants: [
        timed('tsvm', emptied('tsvm'), async () => [
          tsvmCommand('pull', '-q', `${(await ready()).host}/${NAME}`),
        ]),
        timed('skopeo copy and umoci unpack', emptied('oci', 'bundle'), async () => [
          [
            'skopeo',
            'copy',
            '-q',
            '--src-tls-verify=false',
            `docker://${(await ready()).host}/${NAME}`,
            `oci:${own('oci')}:x`,
          ],
          ['umoci', 'unpack', '--image', `${own('oci')}:x`, own('bundle')],
        ]),
        timed('podman', emptyPodman, async () => [
          podman('pull', '-q', '--tls-verify=false', `${(await ready()).host}/${NAME}`),
        ]),
      ],
      comparisons: [
        { of: 'tsvm', against: 'skopeo copy and umoci unpack', as: 'ratio', atMost: 0.6 },
        { of: 'tsvm', against: 'podman', as: 'ratio', atMost: 1 },
      ],
    },
    {
      name: 'load an image of 200 MB',
      unit: 'ms',
      contestants: [
        timed('tsvm', emptied('tsvm'), async () => [
          tsvmCommand('load', '-i', (await ready()).archive),
        ]),
        timed('podman', emptyPodman, async () => [
          podman('load', '-q', '-i', (await ready()).archive),
        ]),
      ],
      comparisons: [{ of: 'tsvm', against: 'podman', as: 'ratio', atMost: 1 }],
    },
    metadataBenchmark(folder, node, root),
    listBenchmark(folder, node, tsvm),
    imageSpeedBenchmark(workbench),
  ];
}

/** 100,000 files of up to 4 KB, as a folder and as a layer. */
function makeManyFiles(folder: string): { readonly tree: string; readonly layer: string } {
  const tree = join(folder, 'many');
  const layer = join(folder, 'many.tar');
  if (!existsSync(layer)) {
    rmSync(tree, { recursive: true, force: true });
    for (let directory = 0; directory < 1000; directory++) {
      const path = join(tree, `d${directory % 10}`, `e${directory}`);
      mkdirSync(path, { recursive: true });
      for (let file = 0; file < 100; file++) {
        const length = 1 + (((directory * 100 + file) * 37) % 4000);
        writeFileSync(
          join(path, `file-${file}.txt`),
          `${directory} ${file} `.repeat(500).slice(0, length),
        );
      }
    }
    execFileSync('tar', [
      '--format=pax',
      '--sort=name',
      '-C',
      tree,
      '-cf',
      `${layer}.partial`,
      '.',
    ]);
    renameSync(`${layer}.partial`, layer);
  }
  return { tree, layer };
}

function metadataBenchmark(folder: string, node: string, root: string): Benchmark {
  const script = join(root, 'test/bench/write-metadata.ts');
  const image = join(folder, 'many.erofs');
  let peakMib = 0;
  const sample = async (): Promise<{ ms: number; peakMib: number }> => {
    rmSync(image, { force: true });
    const { stdout } = await runProcess([node, script, makeManyFiles(folder).layer, image]);
    const result = JSON.parse(stdout);
    peakMib = result.peakMib;
    return result;
  };
  return {
    name: 'metadata image of 100,000 files',
    unit: 'ms',
    contestants: [
      { name: 'tsvm', sample: async () => (await sample()).ms },
      {
        name: 'mkfs.erofs',
        sample: async () => {
          rmSync(`${image}.mkfs`, { force: true });
          return (
            await runProcess(['mkfs.erofs', '-x-1', `${image}.mkfs`, makeManyFiles(folder).tree])
          ).endMs;
        },
      },
      { name: 'tsvm, peak memory in MiB', sample: async () => peakMib },
      {
        name: 'tsvm, size of the image in MiB',
        sample: async () => statSync(image).size / 2 ** 20,
      },
    ],
    comparisons: [
      { of: 'mkfs.erofs', against: 'tsvm', as: 'ratio', atLeast: 5 },
      { of: 'tsvm, peak memory in MiB', as: 'value', atMost: 200 },
      { of: 'tsvm, size of the image in MiB', as: 'value' },
    ],
  };
}

function listBenchmark(folder: string, node: string, tsvm: string): Benchmark {
  const data = join(folder, 'list');
  const fill = () => {
    if (existsSync(join(data, 'images/images.json'))) return;
    mkdirSync(join(data, 'images'), { recursive: true });
    const hex = (index: number) => index.toString(16).padStart(64, '0');
    const images = Array.from({ length: IMAGES }, (_, index) => ({
      id: `sha256:${hex(index)}`,
      manifest: `sha256:${hex(index + IMAGES)}`,
      tags: [`docker.io/library/image-${index}:latest`],
      digests: [`docker.io/library/image-${index}@sha256:${hex(index + IMAGES)}`],
      createdMs: 1_700_000_000_000 + index,
      taggedMs: 1_700_000_000_000,
      layers: Array.from({ length: 8 }, (_, layer) => ({
        diffId: `sha256:${hex(1000 + 8 * index + layer)}`,
        sizeBytes: 5_000_000,
      })),
      platform: 'linux/amd64',
    }));
    writeFileSync(join(data, 'images/images.json'), JSON.stringify({ version: 1, images }));
  };
  return {
    name: `list ${IMAGES} images`,
    unit: 'ms',
    contestants: [
      {
        name: 'tsvm images',
        sample: async () => {
          fill();
          const { endMs, stdout } = await runProcess([
            'env',
            `TSVM_DATA_FOLDER=${data}`,
            tsvm,
            'images',
          ]);
          if (stdout.split('\n').length !== IMAGES + 2)
            throw new Error('not all images are listed');
          return endMs;
        },
      },
      { name: 'node -e 0', sample: async () => (await runProcess([node, '-e', '0'])).endMs },
    ],
    comparisons: [{ of: 'tsvm images', against: 'node -e 0', as: 'difference', atMost: 30 }],
  };
}
