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
/** So much that how long the programs take to start hardly counts. */
const DATA_MIB = 1536;
const HOLE_MIB = 512;

interface Conversion {
  readonly name: string;
  readonly from: 'raw' | 'qcow2';
  readonly to: 'raw' | 'qcow2';
  /** Options of either program. */
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

/** What disks are full of, as far as it is reproducible: a program, again and again; and a hole. */
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
  // What is read comes from the page cache, for either program.
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
      // This machine's host may have taken back memory that was free, and to get it again takes
      // longer than to convert. The first time finds it, in pieces of the sizes that this program
      // asks for; the second time it is there.
      await runProcess(command(images));
      rmSync(target);
      const { endMs } = await runProcess(command(images));
      rmSync(target);
      return DATA_MIB / (endMs / 1000);
    },
  };
}

/** MiB of data converted in a second, by a whole run of the program. */
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
