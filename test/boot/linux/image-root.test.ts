/**
 * Machines with disks of images' root file systems, from the store: what their kernel sees, against
 * umoci's trees.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { rootfsDisk } from '../../../vmm/container/rootfs/rootfs-disk.ts';
import { ImageStore } from '../../../vmm/container/store/image-store.ts';
import { hostFiles } from '../../../vmm/host/host-files.ts';
import {
  BootMetrics,
  bootMachine,
  createLogger,
  type DiskConfig,
  type JoinedDiskConfig,
} from '../../../vmm/index.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { generateLayers } from '../../container/layer-generator.ts';
import { umociUnpack } from '../../container/umoci-trees.ts';
import { ConsoleOutput } from '../../support/console-output.ts';
import { type ContainerCli, containerCli } from '../../support/container-cli.ts';
import { unpackDebianPackage } from '../../support/debian-packages.ts';
import { makeImage, writeLayout } from '../../support/image-maker.ts';
import { compileGuestProgram } from '../../support/initrd.ts';
import { BOOT_TIMEOUT_MS, defaultKernel } from '../../support/linux-guest.ts';
import { Random } from '../../support/random.ts';
import { type MadeMember, makeTar } from '../../support/tar-maker.ts';

const LIST_TREE = join(packageRoot(), 'test/support/guest-programs/list_tree.c');
/** As many as a machine has room for beside the root and the list. */
const GENERATED = 12;
const OUTPUT_BYTES = 2 ** 26;

interface Fixture {
  readonly cli: ContainerCli;
  readonly folder: string;
  /** The program that lists trees, on the host and as the guest's init. */
  readonly listTree: string;
}

function fixture(t: TestContext): Fixture {
  const cli = containerCli(t);
  const listTree = join(cli.folder, 'list-tree');
  compileGuestProgram(listTree, [LIST_TREE]);
  return { cli, folder: cli.folder, listTree };
}

interface LoadedImage {
  readonly disk: JoinedDiskConfig;
  /** umoci's tree, listed on the host. */
  readonly expected: string[];
}

/** Loads an image of these layers into the store, and has umoci unpack it. */
async function loadImage(
  { cli, folder, listTree }: Fixture,
  name: string,
  layers: readonly Uint8Array[],
): Promise<LoadedImage> {
  const own = join(folder, name);
  const layout = join(own, 'layout');
  mkdirSync(layout, { recursive: true });
  const made = makeImage({ layers });
  writeLayout(layout, made);
  await cli.ok(['load', '-q', '-i', layout]);
  const store = new ImageStore(cli.images, hostFiles());
  const { image } = store.find(made.config);
  const tree = umociUnpack(own, layout);
  const list = execFileSync(listTree, [tree], { encoding: 'latin1', maxBuffer: OUTPUT_BYTES });
  return {
    disk: rootfsDisk(
      image.layers.map(({ diffId }) => diffId),
      store.folders,
    ),
    expected: lines(list),
  };
}

/** In an order of their own: each file system lists its names in another. */
function lines(list: string): string[] {
  return list
    .split('\n')
    .filter((line) => line !== '')
    .sort();
}

/** Boots from `root`; its init finds its orders in `words`. @returns what it has written */
async function runGuest(
  folder: string,
  root: JoinedDiskConfig,
  others: readonly JoinedDiskConfig[],
  words: readonly string[],
): Promise<string> {
  const path = join(folder, 'output');
  writeFileSync(path, '');
  truncateSync(path, OUTPUT_BYTES);
  const output: DiskConfig = {
    path,
    readOnly: false,
    format: 'raw',
    overlay: false,
    backing: 'same-folder',
  };
  const console = new ConsoleOutput();
  const machine = await bootMachine(
    {
      ...defaultKernel(),
      initrdPath: undefined,
      disks: [root, output, ...others],
      cmdline: undefined,
      appendCmdline: `rootfstype=erofs init=/init quiet ${words.join(' ')}`,
      cpus: 1,
      memoryBytes: 256 * 2 ** 20,
      acpi: true,
      cpuMask: [],
      engine: 'auto',
      devicePath: '/dev/kvm',
    },
    { console, logger: createLogger('error', () => {}), metrics: new BootMetrics() },
  );
  const timer = setTimeout(() => machine.stop(), BOOT_TIMEOUT_MS);
  try {
    machine.start();
    const { reason } = await machine.ended;
    assert.equal(reason, 'poweroff', console.text.slice(-2000));
  } finally {
    clearTimeout(timer);
    await machine.close();
  }
  const bytes = readFileSync(path);
  const text = bytes.toString('latin1', 0, bytes.indexOf(0));
  assert.match(text, /^end\n$/m);
  return text;
}

/** A section of init's output: the text after its heading. */
function part(text: string, heading: string): string[] {
  const [, found] =
    new RegExp(`^${heading}\n(.*?)^(?:tree \\w+|script|end)\n`, 'ms').exec(text) ?? [];
  assert.ok(found !== undefined, `no "${heading}" in ${text.slice(0, 2000)}`);
  return lines(found);
}

function initMembers({ listTree }: Fixture): MadeMember[] {
  return [
    { name: 'dev/', type: '5' },
    { name: 'mnt/', type: '5' },
    { name: 'init', data: readFileSync(listTree), mode: 0o755 },
  ];
}

test(`${GENERATED} generated images, mounted by the guest, equal what umoci unpacks`, async (t) => {
  const own = fixture(t);
  const { folder } = own;
  const root = await loadImage(own, 'root', [makeTar(initMembers(own))]);
  const images: LoadedImage[] = [];
  for (let seed = 1; seed <= GENERATED; seed++) {
    images.push(await loadImage(own, `seed-${seed}`, generateLayers(new Random(seed))));
  }
  const devices = images.map((_, index) => `vd${String.fromCharCode(0x63 + index)}`);
  const disks = images.map(({ disk }) => disk);
  const words = devices.map((device) => `list-${device}`);
  const text = await runGuest(folder, root.disk, disks, words);
  images.forEach(({ expected }, index) => {
    assert.ok(expected.length > 1);
    assert.deepEqual(part(text, `tree ${devices[index]}`), expected, `seed ${index + 1}`);
  });
  assert.ok(images.some(({ expected }) => expected.some((line) => line.includes(' user.test='))));
  assert.ok(images.some(({ expected }) => expected.some((line) => line.includes(' links=2'))));
});

test('Debian packages in layers are a root whose programs run', async (t) => {
  const own = fixture(t);
  const { folder } = own;
  const packages = ['libc6', 'dash', 'zlib1g', 'libexpat1', 'python3.11-minimal', 'coreutils'];
  const libraries = ['libpython3.11-minimal', 'libselinux1', 'libpcre2-8-0', 'libacl1', 'libattr1'];
  const layers = [...packages, ...libraries, 'libgmp10'].map((name) => {
    const tree = join(folder, 'packages', name);
    unpackDebianPackage(name, tree);
    return execFileSync('tar', ['--format=pax', '--sort=name', '-C', tree, '-c', '.'], {
      maxBuffer: 2 ** 28,
    });
  });
  const capability =
    '\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00';
  const script = [
    'echo "shell $0"',
    "python3.11 -S -c \"import os, zlib; print(os.getxattr('/capable', 'security.capability').hex())\"",
    'ls -l /capable /twice',
    'sha256sum /usr/bin/python3.11',
    'touch /new',
  ].join('\n');
  const top: MadeMember[] = [
    ...initMembers(own),
    { name: 'script', data: script },
    {
      name: 'capable',
      data: 'x',
      mode: 0o4755,
      uid: 1000,
      pax: { 'SCHILY.xattr.security.capability': capability },
    },
    { name: 'twice', type: '1', linkName: 'capable' },
  ];
  const { disk, expected } = await loadImage(own, 'debian', [...layers, makeTar(top)]);
  const text = await runGuest(folder, disk, [], ['list-root', 'run-script']);
  const tree = part(text, 'tree root');
  assert.ok(expected.length > 500);
  // What is on it while the guest runs is devtmpfs's.
  const isDev = (line: string) => line.startsWith('./dev ');
  assert.deepEqual(
    tree.filter((line) => !isDev(line)),
    expected.filter((line) => !isDev(line)),
  );
  const python = join(folder, 'packages/python3.11-minimal/usr/bin/python3.11');
  const [hash] = execFileSync('sha256sum', [python], { encoding: 'utf8' }).split(' ');
  const output = part(text, 'script').join('\n');
  assert.match(output, /^shell \/script$/m);
  assert.match(output, new RegExp(`^${Buffer.from(capability, 'latin1').toString('hex')}$`, 'm'));
  assert.match(output, /^-rwsr-xr-x 2 1000 0 1 .* \/capable$/m);
  assert.match(output, new RegExp(`^${hash} `, 'm'));
  assert.match(output, /touch: .*Read-only file system/);
});
