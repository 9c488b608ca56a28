/** convert and compare of images that contain little data: reserved clusters, a long chain. */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Benchmark } from './benchmark.ts';
import { runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

const MIB = 2 ** 20;
/** Number of layers of the chain, as in chains that are never merged. */
const CHAIN_LAYERS = 64;
const LAYER_BYTES = 64 * MIB;
const RESERVED_BYTES = 8 * 1024 * MIB;

/** Images that contain little data: the time depends on how fast that is detected. */
async function makeSparseImages({ root }: Workbench): Promise<{ reserved: string; chain: string }> {
  const folder = join(root, 'build', 'bench');
  const create = ['qemu-img', 'create', '-q', '-f', 'qcow2'] as const;
  const reserved = join(folder, 'reserved.qcow2');
  if (!existsSync(reserved)) {
    const partial = `${reserved}.partial`;
    await runProcess([...create, '-o', 'preallocation=metadata', partial, `${RESERVED_BYTES}`]);
    await runProcess(['qemu-io', '-f', 'qcow2', '-c', 'write -P 1 1G 16M', partial]);
    renameSync(partial, reserved);
  }
  const layer = (index: number) => join(folder, `layer-${index}.qcow2`);
  const chain = layer(CHAIN_LAYERS);
  if (!existsSync(chain)) {
    for (let index = 1; index <= CHAIN_LAYERS; index++) {
      // Renamed at the end, so that an incomplete chain is created again.
      const path = index === CHAIN_LAYERS ? `${chain}.partial` : layer(index);
      const backing = index === 1 ? [] : ['-b', layer(index - 1), '-F', 'qcow2'];
      await runProcess([...create, ...backing, path, `${LAYER_BYTES}`]);
      const write = `write -P ${index} ${(index - 1) * MIB} 64k`;
      await runProcess(['qemu-io', '-f', 'qcow2', '-c', write, path]);
    }
    renameSync(`${chain}.partial`, chain);
  }
  return { reserved, chain };
}

/** Milliseconds of a whole run over images that are nearly all zero. */
export function sparseBenchmarks(workbench: Workbench): Benchmark[] {
  let images: ReturnType<typeof makeSparseImages> | undefined;
  const target = join(workbench.root, 'build', 'bench', 'converted');
  const runs: readonly { name: string; arguments: (image: string) => readonly string[] }[] = [
    {
      name: 'convert',
      arguments: (image) => ['convert', '-f', 'qcow2', '-O', 'qcow2', image, target],
    },
    {
      name: 'compare',
      arguments: (image) => ['compare', '-f', 'qcow2', '-F', 'qcow2', image, image],
    },
  ];
  const kinds = [
    { kind: 'reserved', of: 'of 8 GiB that are reserved, not written' },
    { kind: 'chain', of: `of a chain of ${CHAIN_LAYERS}` },
  ] as const;
  return kinds.flatMap(({ kind, of }) =>
    runs.map((run) => ({
      name: `${run.name} ${of}`,
      unit: 'ms',
      contestants: [
        { name: 'tsvm', command: [workbench.tsvm, 'image'] as const },
        { name: 'qemu-img', command: ['qemu-img'] as const },
      ].map(({ name, command }) => ({
        name,
        sample: async () => {
          images ??= makeSparseImages(workbench);
          const [program, ...words] = command;
          const { endMs } = await runProcess([
            program,
            ...words,
            ...run.arguments((await images)[kind]),
          ]);
          rmSync(target, { force: true });
          return endMs;
        },
      })),
      comparisons: [{ of: 'tsvm', against: 'qemu-img', as: 'ratio' as const }],
    })),
  );
}
