/** The kernel and the initramfs of the emulated host: Debian's kernel, and this checkout as it is. */
import { execFileSync } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { locateDefaultGuest } from '../../guest-images/default-guest.ts';
import { cacheFolder } from '../../vmm/host/folders.ts';
import { packageRoot } from '../../vmm/util/package-root.ts';

export interface HostImage {
  readonly kernelPath: string;
  readonly initrdPath: string;
}

/** Modules of the host's kernel that its init loads; what they depend on comes with them. */
const MODULES: readonly string[] = ['kvm-amd', 'tun'];

/** Programs that the tests run there, with their libraries. Anything else is busybox's. */
const PROGRAMS: readonly string[] = [
  'cp',
  'debugfs',
  'e2fsck',
  'ip',
  'mke2fs',
  'nsenter',
  'qemu-img',
  'qemu-io',
  'script',
  'sh',
  'stty',
  'unshare',
];

/** What of this checkout is there, at the same path as here. */
const CHECKOUT: readonly string[] = [
  'bin',
  'build/c-tests/test',
  'build/payload',
  'dist',
  'guest-images',
  'kvm-addon/build/Release/tsvm.node',
  'kvm-addon/index.d.ts',
  'kvm-addon/types',
  'node_modules/@xterm',
  'node_modules/commander',
  'node_modules/node/bin/node',
  'package.json',
  'test',
  'vmm',
];

const INIT = join(import.meta.dirname, 'inside/init.sh');

/** Where scripts/setup.sh unpacks the package of the host's kernel. */
function kernelPackage(): string {
  const cache = cacheFolder();
  if (cache === undefined) throw new Error('there is no cache folder: set HOME');
  return join(cache, 'cloud-kernel');
}

/** The only entry of a folder whose name matches. */
function only(folder: string, pattern: RegExp): string {
  const names = readdirSync(folder).filter((name) => pattern.test(name));
  const [name] = names;
  if (name === undefined || names.length > 1) {
    throw new Error(
      `${folder} should have one entry like ${pattern}: rm -r it, then npm run setup`,
    );
  }
  return join(folder, name);
}

/** The absolute path of a program on the PATH. */
function programPath(name: string): string {
  for (const folder of (process.env['PATH'] ?? '').split(':')) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  throw new Error(`${name} is not installed: npm run setup`);
}

/** The shared libraries of a program or library, its interpreter included. */
function libraries(path: string): string[] {
  try {
    const text = execFileSync('ldd', [path], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return [...text.matchAll(/(\/\S+) \(0x/g)].map(([, library]) => library ?? '');
  } catch {
    // A static program or a script.
    return [];
  }
}

/** A tree of links to what the initramfs is made of. */
class Tree {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** Puts the file or folder `source` at `path`, unless something is there. */
  add(source: string, path = source): void {
    const target = join(this.#root, path);
    mkdirSync(dirname(target), { recursive: true });
    try {
      symlinkSync(resolve(source), target);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }

  addProgram(source: string, path = source): void {
    this.add(source, path);
    for (const library of libraries(source)) this.add(library);
  }

  write(path: string, content: string | Uint8Array): void {
    const target = join(this.#root, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content, { mode: 0o755 });
  }

  folder(path: string): void {
    mkdirSync(join(this.#root, path), { recursive: true });
  }
}

/** Adds a module after those that it depends on, in the order in which init loads them. */
function addModules(tree: Tree, names: readonly string[], modules: string): void {
  const files = new Map(
    (readdirSync(modules, { recursive: true }) as string[])
      .filter((path) => path.endsWith('.ko.xz'))
      .map((path) => [moduleName(path), join(modules, path)]),
  );
  const order: string[] = [];
  const add = (name: string): void => {
    if (order.includes(name)) return;
    const file = files.get(name);
    if (file === undefined) throw new Error(`the host's kernel has no module ${name}`);
    const content = execFileSync('xz', ['-dc', file], { maxBuffer: 2 ** 28 });
    const [, depends = ''] = /\0depends=([^\0]*)\0/.exec(content.toString('latin1')) ?? [];
    for (const needed of depends.split(',')) if (needed !== '') add(moduleName(needed));
    order.push(name);
    tree.write(`modules/${String(order.length).padStart(2, '0')}-${name}.ko`, content);
  };
  for (const name of names) add(moduleName(name));
}

/** Files are named with hyphens or underscores, as their author liked it; the module is one. */
function moduleName(path: string): string {
  return (path.split('/').at(-1) ?? '').replace(/\.ko\.xz$/, '').replaceAll('-', '_');
}

/** Adds what Node has compiled so far: tests that run now may add to it, under a draft's name first. */
function addCompileCache(tree: Tree, folder: string): void {
  if (!existsSync(folder)) return;
  for (const path of readdirSync(folder, { recursive: true }) as string[]) {
    if (/\/[0-9a-f]{8}$/.test(path)) tree.add(join(folder, path));
  }
}

/** Makes the image in `folder`, which is the caller's to delete. */
export function buildHostImage(folder: string): HostImage {
  const unpacked = kernelPackage();
  const root = join(folder, 'root');
  const tree = new Tree(root);
  for (const path of ['proc', 'sys', 'dev', 'tmp', 'root', 'busybox']) tree.folder(path);
  addModules(tree, MODULES, only(join(unpacked, 'lib/modules'), /^6\./));
  tree.add(INIT, '/init');
  tree.add('/bin/busybox');
  for (const name of PROGRAMS) tree.addProgram(programPath(name), `/usr/bin/${name}`);
  tree.add(programPath('sh'), '/bin/sh');
  tree.write('/etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n');
  tree.write('/etc/mke2fs.conf', '[defaults]\n');
  tree.write('/checkout', packageRoot());

  for (const path of CHECKOUT) tree.add(join(packageRoot(), path));
  addCompileCache(tree, join(packageRoot(), 'build/node-compile-cache'));
  const ours = ['kvm-addon/build/Release/tsvm.node', 'node_modules/node/bin/node'].concat(
    readdirSync(join(packageRoot(), 'build/c-tests/test'))
      .filter((name) => name.endsWith('_test'))
      .map((name) => join('build/c-tests/test', name)),
  );
  for (const path of ours) tree.addProgram(join(packageRoot(), path));
  const guest = locateDefaultGuest();
  if (guest === undefined) throw new Error('the default guest is not built: npm run setup');
  for (const path of Object.values(guest)) tree.add(path);

  const initrdPath = join(folder, 'initrd');
  const pack =
    'find -L . -name CMakeFiles -prune -o -print0 | ' +
    'cpio --null --create --dereference --format=newc --quiet > "$0"';
  execFileSync('sh', ['-c', pack, initrdPath], { cwd: root });
  return { kernelPath: only(join(unpacked, 'boot'), /^vmlinuz-/), initrdPath };
}
