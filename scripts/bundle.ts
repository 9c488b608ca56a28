/**
 * Bundles the command line programs with their bytecode. A start then opens a few files instead of a
 * hundred and need not compile most functions.
 *
 * ```
 * dist/tsvm.cjs            start.ts
 * dist/PROGRAM.js          a program of vmm/cli/programs.ts: its main module and all that it needs
 * dist/PROGRAM.PART.js     a module that the program imports by `import()`
 * dist/PROGRAM.shared-*.js modules that several of those share, if `programs.ts` divides them
 * dist/*.bytecode          V8's code cache of each, for the Node that runs this script
 * ```
 *
 * So `import()` decides what is loaded when: use it for whatever most starts do not need.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild';
import { loadScript } from '../vmm/cli/bundle.ts';
import { PROGRAMS, type Program } from '../vmm/cli/programs.ts';
import { packageRoot } from '../vmm/util/package-root.ts';
import { type BundlePlan, type ModuleGraph, planBundle } from './bundle-plan.ts';
import { kernelImage } from './training-kernel.ts';

const root = packageRoot();
const dist = join(root, 'dist');

/**
 * With the default guest: a container, so that its client and its supervisor are trained. The first one's
 * machine boots and leaves a template, which the second one's goes on from, as most do.
 */
const CONTAINER_TRAINING = 'run training:latest /bin/busybox true';

/**
 * Commands that are run to learn which functions a start of their programs needs, in a folder with
 * `kernel`, `disk.raw`, `layer.tar` and `dist`, the bundle.
 */
const TRAININGS: readonly string[] = [
  'image create -f qcow2 disk.qcow2 1M',
  'image convert -O qcow2 disk.raw copy.qcow2',
  'image info copy.qcow2',
  // The sandbox leaves it the folder to write the bytecode to.
  'boot --kernel kernel --disk disk.raw --sandbox on,files=dist',
  'boot --kernel kernel --acpi off --sandbox off',
  'boot --kernel kernel --disk disk.qcow2,format=qcow2 --sandbox off',
  'list',
  'import layer.tar training:latest',
  'images',
  'ps -a',
  'system df',
  'rm -f nothing',
  ...(existsSync(join(dist, 'default-guest.json')) ? [CONTAINER_TRAINING, CONTAINER_TRAINING] : []),
];
const TRAINING_TIMEOUT_MS = 30_000;

const options: BuildOptions = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  define: { 'import.meta.dirname': '__dirname' },
  // V8 loads the bytecode of a program with short names a millisecond faster.
  minify: true,
  legalComments: 'none',
};
/** For the files of a program; see `vmm/cli/bundle.ts`, which runs them. */
const programOptions: BuildOptions = {
  ...options,
  banner: { js: '(function (require, __dirname, module) {' },
  footer: { js: '})' },
  // A script of `node:vm` has no `import()`; this makes it `require()`.
  supported: { 'dynamic-import': false },
};

function moduleGraph({ inputs }: Metafile): ModuleGraph {
  const targets = (path: string, isDynamic: boolean) =>
    (inputs[path]?.imports ?? [])
      .filter((edge) => edge.external !== true && isDynamic === (edge.kind === 'dynamic-import'))
      .map((edge) => join(root, edge.path));
  return new Map(
    Object.keys(inputs).map((path) => [
      join(root, path),
      { static: targets(path, false), dynamic: targets(path, true) },
    ]),
  );
}

/** Which modules of a file are exported to other files, and as what. */
class FileExports {
  readonly #names = new Map<string, string>();

  get count(): number {
    return this.#names.size;
  }

  nameOf(module: string): string {
    const name = this.#names.get(module) ?? `m${this.#names.size}`;
    this.#names.set(module, name);
    return name;
  }

  /** Statements for the file's main module. */
  statements(): string {
    return Array.from(
      this.#names,
      ([module, name]) => `export * as ${name} from './${relative(root, module)}';\n`,
    ).join('');
  }
}

/** The core of a program in {@link BundlePlan}, besides the names of shared files. */
const CORE = 'core';

/** Leaves out what other files of the program have. @param own that file; undefined for a part */
function divide(
  { core, parts, shared }: BundlePlan,
  own: string | undefined,
  exportsOf: (file: string) => FileExports,
): Plugin {
  return {
    name: 'divide',
    setup({ onResolve, resolve }) {
      onResolve({ filter: /^[^:]+$/ }, async ({ path, pluginData, ...args }) => {
        if (args.kind === 'entry-point' || pluginData === 'resolved') return undefined;
        const isDynamic = args.kind === 'dynamic-import';
        if (own === CORE && !isDynamic) return undefined;
        const resolved = await resolve(path, { ...args, pluginData: 'resolved' });
        const part = parts.get(resolved.path);
        if (part !== undefined) return { path: `part:${part}`, external: true };
        const file = core.has(resolved.path) ? CORE : shared.get(resolved.path);
        if (file === undefined || (file === own && !isDynamic)) return undefined;
        return { path: `${file}:${exportsOf(file).nameOf(resolved.path)}`, external: true };
      });
    },
  };
}

async function bundleProgram({ name, entry, divideBy }: Program): Promise<void> {
  const main = join(root, 'vmm/cli', entry);
  const analysis = await build({ ...options, entryPoints: [main], write: false, metafile: true });
  const plan = planBundle(moduleGraph(analysis.metafile), main, divideBy);
  const files = [...new Set(plan.shared.values()), CORE];
  const exports = new Map(files.map((file) => [file, new FileExports()]));
  const exportsOf = (file: string) => exports.get(file) ?? new FileExports();
  for (const [module, part] of plan.parts) {
    await build({
      ...programOptions,
      entryPoints: [module],
      outfile: join(dist, `${name}.${part}.js`),
      plugins: [divide(plan, undefined, exportsOf)],
    });
  }
  const buildFile = (file: string, write: boolean) =>
    build({
      ...programOptions,
      stdin: {
        // The main module comes first, so that modules are run in the order in which it imports them.
        contents: `${file === CORE ? `import './${relative(root, main)}';\n` : ''}${exportsOf(file).statements()}`,
        resolveDir: root,
      },
      outfile: join(dist, file === CORE ? `${name}.js` : `${name}.${file}.js`),
      write,
      plugins: [divide(plan, file, exportsOf)],
    });
  // They import from each other, and from themselves by `import()`: what, is known once they are built.
  let known = -1;
  const count = () => files.reduce((sum, file) => sum + exportsOf(file).count, 0);
  while (known !== count()) {
    known = count();
    for (const file of files) await buildFile(file, false);
  }
  for (const file of files) await buildFile(file, true);
}

function bytecodeOf(file: string): string {
  return join(dist, `${basename(file, '.js')}.bytecode`);
}

async function train(command: string, folder: string): Promise<void> {
  const words = [join(root, 'scripts/train.ts'), ...command.split(' ')];
  const ofSupervisor = bytecodeOf('supervisor.js');
  const beforeMs = statSync(ofSupervisor).mtimeMs;
  const templates = join(folder, 'cache/tsvm/templates');
  const { status, stderr } = spawnSync(process.execPath, words, {
    cwd: folder,
    env: {
      ...process.env,
      TSVM_TRAINING: dist,
      TSVM_DATA_FOLDER: join(folder, 'data'),
      TSVM_RUNTIME_FOLDER: join(folder, 'run'),
      TSVM_WARM_START: 'on',
      XDG_CACHE_HOME: join(folder, 'cache'),
    },
    encoding: 'utf8',
    input: '',
    timeout: TRAINING_TIMEOUT_MS,
  });
  if (status !== 0) {
    // Perhaps this host cannot run VMs yet.
    process.stderr.write(`"tsvm ${command}" fails here, so it will start slower: ${stderr}`);
  } else if (command === CONTAINER_TRAINING) {
    // The supervisor ends after its client, and then the process that it has started to make a template.
    await until(() => statSync(ofSupervisor).mtimeMs > beforeMs);
    await until(() => globSync(['*/state', '*.failed'], { cwd: templates }).length > 0);
  }
}

/** Waits, but not for ever: what is not trained starts slower. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + TRAINING_TIMEOUT_MS;
  while (!condition() && Date.now() < deadline) await sleep(10);
}

/** An archive with the program that the default guest has, if this host has it. */
function writeLayer(path: string): void {
  const { status } = spawnSync('tar', ['-cf', path, '-C', '/usr', 'bin/busybox']);
  // An empty archive.
  if (status !== 0) writeFileSync(path, new Uint8Array(1024));
}

/** Writes the bytecode of all functions of those files that no training has loaded. */
function compileUntrained(): void {
  for (const file of globSync('*.js', { cwd: dist })) {
    const bytecode = bytecodeOf(file);
    if (statSync(bytecode).size > 0) continue;
    setFlagsFromString('--no-lazy');
    const script = loadScript(join(dist, basename(file, '.js')));
    // Bytecode is valid only for the V8 flags that it was created with.
    setFlagsFromString('--lazy');
    writeFileSync(bytecode, script.createCachedData());
  }
}

// V8 distinguishes sources only by their length, so old bytecode must not stay with a new bundle.
for (const name of globSync('*.{js,bytecode}', { cwd: dist })) rmSync(join(dist, name));
for (const program of PROGRAMS) await bundleProgram(program);
await build({
  ...options,
  entryPoints: [join(root, 'vmm/cli/start.ts')],
  outfile: join(dist, 'tsvm.cjs'),
});
const folder = mkdtempSync(join(tmpdir(), 'tsvm-train-'));
try {
  writeFileSync(join(folder, 'kernel'), kernelImage());
  writeFileSync(join(folder, 'disk.raw'), new Uint8Array(2 ** 20));
  symlinkSync(dist, join(folder, 'dist'));
  writeLayer(join(folder, 'layer.tar'));
  // In its sandbox a process can write files but create none.
  for (const file of globSync('*.js', { cwd: dist })) writeFileSync(bytecodeOf(file), '');
  for (const command of TRAININGS) await train(command, folder);
  compileUntrained();
} finally {
  rmSync(folder, { recursive: true });
}
