/** The root file system of an image in a guest, against the same tree in an EROFS with 4 KiB blocks. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  BootMetrics,
  bootMachine,
  createLogger,
  type DiskConfig,
  type MachineConfig,
} from '../../vmm/index.ts';
import { once } from '../../vmm/util/once.ts';
import { ConsoleOutput } from '../support/console-output.ts';
import { unpackDebianPackage } from '../support/debian-packages.ts';
import { compileGuestProgram, initrdOf } from '../support/initrd.ts';
import { defaultKernel } from '../support/linux-guest.ts';
import { writeMetadata } from '../support/mounted-rootfs.ts';
import type { Benchmark, Contestant } from './benchmark.ts';
import type { Workbench } from './workbench.ts';

const PACKAGES = [
  ...['libc6', 'zlib1g', 'libexpat1', 'dash', 'coreutils', 'perl-base', 'python3.11-minimal'],
  ...['libpython3.11-minimal', 'libpython3.11-stdlib'],
];
const MEMORY_BYTES = 512 * 2 ** 20;
/** The measurements of `image-speed.c`, with descriptions. */
const KINDS = {
  read: 'reading all, first',
  'read-again': 'reading all, again',
  start: 'starting dash and python3, first',
  'start-again': 'starting dash and python3, again',
} as const;
const DEVICES = { '/dev/vda': 'image', '/dev/vdb': 'mkfs.erofs' } as const;

interface Files {
  readonly initrd: string;
  /** The image's metadata and layers. */
  readonly image: readonly string[];
  readonly rival: string;
}

/** One layer per package, and the tree that results from them. */
function makeFiles({ root }: Workbench): Files {
  const folder = join(root, 'build/bench/image-speed');
  rmSync(folder, { recursive: true, force: true });
  const tree = join(folder, 'tree');
  mkdirSync(tree, { recursive: true });
  const layers = PACKAGES.map((name, index) => {
    const own = join(folder, name);
    unpackDebianPackage(name, own);
    const layer = join(folder, `${index}.tar`);
    const words = ['--format=pax', '--sort=name', '--owner=0', '--group=0'];
    execFileSync('tar', [...words, '-C', own, '-cf', layer, '.']);
    execFileSync('cp', ['-a', `${own}/.`, tree]);
    return layer;
  });
  const rival = join(folder, 'rival.erofs');
  execFileSync('mkfs.erofs', [rival, tree], { stdio: 'pipe' });
  const program = join(folder, 'image-speed');
  compileGuestProgram(program, [join(root, 'test/bench/image-speed.c')]);
  const initrd = `${program}.cpio`;
  writeFileSync(initrd, initrdOf(program));
  return { initrd, image: [writeMetadata(folder, layers), ...layers], rival };
}

/**
 * Seconds by measurement and file system. Each is the best of the guest's rounds, so that other load has
 * the least effect.
 */
async function runGuest({ image, initrd, rival }: Files): Promise<ReadonlyMap<string, number>> {
  if (!existsSync('/dev/kvm')) throw new Error('there is no /dev/kvm');
  // Compares the guest's work: the host has everything in its page cache.
  for (const path of [...image, rival]) readFileSync(path);
  const disks: DiskConfig[] = [{ files: image }, { files: [rival] }];
  const config: MachineConfig = {
    ...defaultKernel(),
    initrdPath: initrd,
    disks,
    cmdline: undefined,
    appendCmdline: `quiet metadata_bytes=${statSync(image[0] ?? '').size}`,
    cpus: 1,
    memoryBytes: MEMORY_BYTES,
    acpi: true,
    cpuMask: [],
    engine: 'auto',
    devicePath: '/dev/kvm',
  };
  const console = new ConsoleOutput();
  const logger = createLogger('error', () => {});
  const machine = await bootMachine(config, { console, logger, metrics: new BootMetrics() });
  try {
    machine.start();
    await machine.ended;
  } finally {
    await machine.close();
  }
  const all = new Map<string, number[]>();
  for (const [, key = '', seconds] of console.text.matchAll(/^speed (\S+ \S+) ([0-9.]+)\r?$/gm)) {
    all.set(key, [...(all.get(key) ?? []), Number(seconds)]);
  }
  if (!/^speed done/m.test(console.text)) throw new Error(console.text.slice(-300));
  return new Map([...all].map(([key, values]) => [key, Math.min(...values)]));
}

export function imageSpeedBenchmark(workbench: Workbench): Benchmark {
  const files = once(() => makeFiles(workbench));
  let figures: ReadonlyMap<string, number> = new Map();
  const name = (kind: keyof typeof KINDS, device: keyof typeof DEVICES) =>
    `${DEVICES[device]}: ${KINDS[kind]}`;
  const kinds = Object.keys(KINDS) as (keyof typeof KINDS)[];
  const devices = Object.keys(DEVICES) as (keyof typeof DEVICES)[];
  const contestants = kinds.flatMap((kind) =>
    devices.map((device): Contestant => {
      const isFirst = kind === kinds[0] && device === devices[0];
      return {
        name: name(kind, device),
        sample: async () => {
          // One guest takes all measurements in turn.
          if (isFirst) figures = await runGuest(files());
          return 1000 * (figures.get(`${kind} ${device}`) ?? Number.NaN);
        },
      };
    }),
  );
  return {
    name: 'an image\u2019s tree in the guest, and in an EROFS of 4 KiB blocks',
    unit: 'ms',
    slow: true,
    contestants,
    comparisons: kinds.map((kind) => ({
      of: name(kind, '/dev/vdb'),
      against: name(kind, '/dev/vda'),
      as: 'ratio',
      atLeast: 0.95,
    })),
  };
}
