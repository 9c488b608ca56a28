import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Benchmark, Contestant } from './benchmark.ts';
import { type Command, runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

const MIB = 2 ** 20;
/** Large enough that the start-up time of the programs hardly counts. */
const DATA_MIB = 1536;
const HOLE_MIB = 512;

interface Conversion {
  readonly name: string;
  readonly from: 'raw' | 'qcow2';
  readonly to: 'raw' | 'qcow2';
  /** Options of both programs. */
  readonly tsvm: readonly string[];
  readonly qemu: readonly string[];
  readonly atLeast: number;
}

const CONVERSIONS: readonly Conversion[] = [
  { name: 'convert raw to qcow2', from: 'raw', to: 'qcow2', tsvm: [], qemu: [], atLeast: 1 },
  { name: 'convert qcow2 to raw', from: 'qcow2', to: 'raw', tsvm: [], qemu: [], atLeast: 1 },
  {
    name: 'convert raw to qcow2, compressed with zstd',
    from: 'raw',
    to: 'qcow2',
    tsvm: ['--compress-type', 'zstd'],
    qemu: ['-c', '-o', 'compression_type=zstd'],
    atLeast: 1.5,
  },
];

interface Images {
  readonly raw: string;
  readonly qcow2: string;
}

/** Content like that of real disks, but reproducible: a program, repeated; and a hole. */
async function makeImages({ node, root }: Workbench): Promise<Images> {
  const folder = join(root, 'build', 'bench');
  const raw = join(folder, 'convert-source.img');
  const qcow2 = join(folder, 'convert-source.qcow2');
  if (!existsSync(qcow2)) {
    const program = readFileSync(node);
    const fd = openSync(`${raw}.partial`, 'w');
    for (let at = 0; at < DATA_MIB * MIB; at += program.length) {
      writeSync(fd, program, 0, Math.min(program.length, DATA_MIB * MIB - at), at);
    }
    ftruncateSync(fd, (DATA_MIB + HOLE_MIB) * MIB);
    closeSync(fd);
    renameSync(`${raw}.partial`, raw);
    const partial = `${qcow2}.partial`;
    await runProcess(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, partial]);
    renameSync(partial, qcow2);
  }
  // Both programs read from the page cache.
  await runProcess(['cksum', raw, qcow2]);
  return { raw, qcow2 };
}

function contestant(
  name: string,
  target: string,
  prepare: () => Promise<Images>,
  command: (images: Images) => Command,
): Contestant {
  return {
    name,
    sample: async () => {
      const images = await prepare();
      // The hypervisor of this machine may have taken back free memory, and to get it again takes longer
      // than a conversion. The first run allocates it, in the sizes that this program uses; the second
      // run is measured.
      await runProcess(command(images));
      rmSync(target);
      const { endMs } = await runProcess(command(images));
      rmSync(target);
      return DATA_MIB / (endMs / 1000);
    },
  };
}

/** MiB of data converted per second, over a whole run of the program. */
export function convertBenchmarks(workbench: Workbench): Benchmark[] {
  let images: Promise<Images> | undefined;
  const prepare = (): Promise<Images> => {
    images ??= makeImages(workbench);
    return images;
  };
  const target = join(workbench.root, 'build', 'bench', 'converted');
  return CONVERSIONS.map(({ name, from, to, tsvm, qemu, atLeast }) => {
    const formats = ['-f', from, '-O', to];
    const tsvmConvert = [workbench.tsvm, 'image', 'convert'] as const;
    const qemuConvert = ['qemu-img', 'convert'] as const;
    return {
      name,
      unit: 'MiB/s',
      contestants: [
        contestant('tsvm', target, prepare, (all) => [
          ...tsvmConvert,
          ...formats,
          ...tsvm,
          all[from],
          target,
        ]),
        contestant('qemu-img', target, prepare, (all) => [
          ...qemuConvert,
          ...formats,
          ...qemu,
          all[from],
          target,
        ]),
      ],
      comparisons: [{ of: 'tsvm', against: 'qemu-img', as: 'ratio', atLeast }],
    };
  });
}
