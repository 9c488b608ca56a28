/**
 * Bundles the command line programs and compiles them: Node then opens three files instead of a
 * hundred, and compiles none of the functions that most starts need.
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
  image: [
    'image create -f qcow2 disk.qcow2 1M',
    'image convert -O qcow2 disk.raw copy.qcow2',
    'image info copy.qcow2',
  ],
  machine: [
    'boot --kernel kernel --disk disk.raw',
    // Together the bytecode takes 0.5 ms longer to load than that of the first command alone.
    'boot --kernel kernel --disk disk.qcow2,format=qcow2',
  ],
  registry: ['import layer.tar training:latest'],
};
const TRAINING_TIMEOUT_MS = 30_000;

/** Of Node's modules, those that take from 0.5 to 4 ms to load and that a boot can do without. */
const HEAVY_MODULES = /^node:(child_process|crypto|net|os|stream|tty|zlib)$/;

/** Loads a heavy module when something of it is first used, not when it is imported. */
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
  minifySyntax: true,
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

/** Bytecode of all functions, whichever a start will need. */
function compileAll(filename: string): Buffer {
  setFlagsFromString('--no-lazy');
  const script = new Script(readFileSync(filename, 'latin1'), { filename });
  // A code cache is only good for the flags that it was made under.
  setFlagsFromString('--lazy');
  return script.createCachedData();
}

function train({ name }: Program, folder: string): void {
  const bundle = join(dist, `${name}.js`);
  const target = join(dist, `${name}.bytecode`);
  for (const command of TRAININGS[name]) {
    const words = [join(root, 'scripts/train.ts'), bundle, target, ...command.split(' ')];
    const training = spawnSync(process.execPath, words, {
      cwd: folder,
      env: { ...process.env, TSVM_DATA_FOLDER: join(folder, 'data') },
      input: '',
      timeout: TRAINING_TIMEOUT_MS,
    });
    if (training.status === 0) continue;
    // Perhaps no machine can run here yet. Twice as much bytecode takes 2 ms longer to load.
    writeFileSync(target, compileAll(bundle));
    process.stderr.write(
      `"tsvm ${command}" fails here, so it will start slower: ${training.stderr}`,
    );
    return;
  }
}

// V8 tells one source from another by its length alone: old bytecode must not stay beside a new bundle.
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
  // The image program makes `disk.qcow2` for the machine.
  for (const program of PROGRAMS) train(program, folder);
} finally {
  rmSync(folder, { recursive: true });
}
