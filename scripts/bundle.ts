/**
 * Bundles the CLI and compiles it: Node then opens three files instead of a hundred, and compiles
 * none of the functions that most starts need.
 *
 * ```
 * dist/tsvm.cjs            start.ts
 * dist/cli.js              machine-main.ts and all that it imports, as a function of
 *                          (require, __dirname)
 * dist/image.js            image-main.ts, likewise
 * dist/container.js        container-main.ts, likewise
 * dist/cli.bytecode        V8's code cache of cli.js, for the Node that runs this script
 * dist/cli-qcow2.bytecode  another, for machines with a qcow2 disk
 * dist/image.bytecode      that of image.js
 * dist/container.bytecode  that of container.js
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
import { packageRoot } from '../vmm/util/package-root.ts';
import { kernelImage } from './training-kernel.ts';

const root = packageRoot();
const dist = join(root, 'dist');

/** What is run, in a folder with `kernel`, `disk.raw` and `layer.tar`, to learn what bytecode a use needs. */
const TRAININGS = [
  {
    program: 'image',
    bytecode: 'image',
    commands: [
      'image create -f qcow2 disk.qcow2 1M',
      'image convert -O qcow2 disk.raw copy.qcow2',
      'image info copy.qcow2',
    ],
  },
  {
    program: 'container',
    bytecode: 'container',
    commands: ['import layer.tar training:latest', 'images'],
  },
  { program: 'cli', bytecode: 'cli', commands: ['boot --kernel kernel --disk disk.raw'] },
  {
    program: 'cli',
    bytecode: 'cli-qcow2',
    commands: ['boot --kernel kernel --disk disk.qcow2,format=qcow2'],
  },
] as const;
const TRAINING_TIMEOUT_MS = 30_000;

/** Of Node's modules, those that take from 0.5 to 4 ms to load and that a boot can do without. */
const HEAVY_MODULES = /^node:(child_process|crypto|net|stream|tty|zlib)$/;

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
/** Bundles a program into `dist/NAME.js`. */
async function bundleProgram(name: string, entry: string): Promise<void> {
  await build({
    ...options,
    entryPoints: [join(root, entry)],
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

function train({ program, bytecode, commands }: (typeof TRAININGS)[number], folder: string): void {
  const bundle = join(dist, `${program}.js`);
  const target = join(dist, `${bytecode}.bytecode`);
  for (const command of commands) {
    const words = [join(root, 'scripts/train.ts'), bundle, target, ...command.split(' ')];
    const training = spawnSync(process.execPath, words, {
      cwd: folder,
      env: { ...process.env, TSVM_DATA_FOLDER: join(folder, 'data') },
      input: '',
      timeout: TRAINING_TIMEOUT_MS,
    });
    if (training.status === 0) continue;
    // It is twice as much, which takes 2 ms longer to load: no machine runs here yet, perhaps.
    writeFileSync(target, compileAll(bundle));
    process.stderr.write(
      `"tsvm ${command}" fails here, so it will start slower: ${training.stderr}`,
    );
    return;
  }
}

// V8 tells one source from another by its length alone: never may old bytecode lie by a new bundle.
for (const name of globSync('*.bytecode', { cwd: dist })) rmSync(join(dist, name));
await bundleProgram('cli', 'vmm/cli/machine-main.ts');
await bundleProgram('image', 'vmm/cli/image-main.ts');
await bundleProgram('container', 'vmm/cli/container-main.ts');
await build({
  ...options,
  entryPoints: [join(root, 'vmm/cli/start.ts')],
  outfile: join(dist, 'tsvm.cjs'),
});
const folder = mkdtempSync(join(tmpdir(), 'tsvm-train-'));
try {
  writeFileSync(join(folder, 'kernel'), kernelImage());
  writeFileSync(join(folder, 'disk.raw'), new Uint8Array(2 ** 20));
  // An archive with nothing in it.
  writeFileSync(join(folder, 'layer.tar'), new Uint8Array(1024));
  for (const training of TRAININGS) train(training, folder);
} finally {
  rmSync(folder, { recursive: true });
}
