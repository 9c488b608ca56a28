/**
 * Bundles the command line programs with their bytecode. A start then opens three files instead of a
 * hundred and need not compile most functions.
 *
 * ```
 * dist/tsvm.cjs        start.ts
 * dist/NAME.js         a program of vmm/cli/programs.ts and all that it imports, as a function of
 *                      (require, __dirname)
 * dist/NAME.bytecode   V8's code cache of it, for the Node that runs this script
 * ```
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { PROGRAMS, type Program } from '../vmm/cli/programs.ts';
import { packageRoot } from '../vmm/util/package-root.ts';
import { kernelImage } from './training-kernel.ts';

const root = packageRoot();
const dist = join(root, 'dist');

/**
 * Commands that each program is run with, in a folder with `kernel`, `disk.raw`, `disk.qcow2` and
 * `layer.tar`, to learn which functions a start needs.
 */
const TRAININGS: Readonly<Record<Program['name'], readonly string[]>> = {
  container: ['images'],
  control: ['list'],
  image: [
    'image create -f qcow2 disk.qcow2 1M',
    'image convert -O qcow2 disk.raw copy.qcow2',
    'image info copy.qcow2',
  ],
  machine: [
    'boot --kernel kernel --disk disk.raw',
    'boot --kernel kernel --acpi off',
    // Together the bytecode takes 0.5 ms longer to load than that of the first command alone.
    'boot --kernel kernel --disk disk.qcow2,format=qcow2',
  ],
  registry: ['import layer.tar training:latest'],
  // It needs an image, and a client: all of it is compiled.
  supervisor: [],
};
const TRAINING_TIMEOUT_MS = 30_000;

/** Node modules that take 0.5 to 4 ms to load and that a boot does not need. */
const HEAVY_MODULES = /^node:(child_process|crypto|http|net|os|stream|tty|zlib)$/;

/** Loads a heavy module on first use instead of on import. */
const loadHeavyModulesLate: Plugin = {
  name: 'load-heavy-modules-late',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: HEAVY_MODULES }, ({ path, namespace }) =>
      namespace === 'late' ? { path, external: true } : { path, namespace: 'late' },
    );
    onLoad({ filter: /./, namespace: 'late' }, ({ path }) => {
      const names = Object.keys(createRequire(import.meta.filename)(path));
      const getters = names.map((name) => `get ${name}() { return require('${path}').${name}; }`);
      return { contents: `module.exports = { ${getters.join(', ')} };` };
    });
  },
};

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
async function bundleProgram({ name, entry }: Program): Promise<void> {
  await build({
    ...options,
    entryPoints: [join(root, 'vmm/cli', entry)],
    outfile: join(dist, `${name}.js`),
    banner: { js: '(function (require, __dirname) {' },
    footer: { js: '})' },
    // A script of `node:vm` has no `import()`; this makes it `require()`.
    supported: { 'dynamic-import': false },
    plugins: [loadHeavyModulesLate],
  });
}

/** Bytecode of all functions, when it is unknown which ones a start needs. */
function compileAll(filename: string): Buffer {
  setFlagsFromString('--no-lazy');
  const script = new Script(readFileSync(filename, 'latin1'), { filename });
  // A code cache is valid only for the V8 flags that it was created with.
  setFlagsFromString('--lazy');
  return script.createCachedData();
}

function train({ name }: Program, folder: string): void {
  const bundle = join(dist, `${name}.js`);
  const target = join(dist, `${name}.bytecode`);
  if (TRAININGS[name].length === 0) writeFileSync(target, compileAll(bundle));
  for (const command of TRAININGS[name]) {
    const words = [join(root, 'scripts/train.ts'), bundle, target, ...command.split(' ')];
    const training = spawnSync(process.execPath, words, {
      cwd: folder,
      env: {
        ...process.env,
        TSVM_DATA_FOLDER: join(folder, 'data'),
        TSVM_RUNTIME_FOLDER: join(folder, 'run'),
      },
      input: '',
      timeout: TRAINING_TIMEOUT_MS,
    });
    if (training.status === 0) continue;
    // Perhaps this host cannot run VMs yet. Twice the bytecode takes 2 ms longer to load.
    writeFileSync(target, compileAll(bundle));
    process.stderr.write(
      `"tsvm ${command}" fails here, so it will start slower: ${training.stderr}`,
    );
    return;
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
  // An empty archive.
  writeFileSync(join(folder, 'layer.tar'), new Uint8Array(1024));
  // The training of the image program creates the `disk.qcow2` of the machine program.
  for (const program of PROGRAMS) train(program, folder);
} finally {
  rmSync(folder, { recursive: true });
}
