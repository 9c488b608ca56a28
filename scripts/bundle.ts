/**
 * Bundles the CLI and compiles it: Node then opens two files instead of a hundred, and compiles no
 * function of them that a boot needs.
 *
 * ```
 * dist/tsvm.cjs      start.ts
 * dist/cli.js        main.ts and all that it imports, as a function of (require, __dirname)
 * dist/cli.bytecode  V8's code cache of cli.js, for the Node that runs this script
 * ```
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { packageRoot } from '../vmm/util/package-root.ts';

const root = packageRoot();
const dist = join(root, 'dist');
const filename = join(dist, 'cli.js');
const bytecode = join(dist, 'cli.bytecode');

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
// V8 tells one source from another by its length alone: never may old bytecode lie by a new bundle.
rmSync(bytecode, { force: true });
await build({
  ...options,
  entryPoints: [join(root, 'vmm/cli/main.ts')],
  outfile: filename,
  banner: { js: '(function (require, __dirname) {' },
  footer: { js: '})' },
  // A script of `node:vm` has no `import()`; this makes it `require()`.
  supported: { 'dynamic-import': false },
  plugins: [loadHeavyModulesLate],
});

// Bytecode of all functions, whichever a boot will need.
setFlagsFromString('--no-lazy');
const script = new Script(readFileSync(filename, 'latin1'), { filename });
// A code cache is only good for the flags that it was made under.
setFlagsFromString('--lazy');
writeFileSync(bytecode, script.createCachedData());

await build({
  ...options,
  entryPoints: [join(root, 'vmm/cli/start.ts')],
  outfile: join(dist, 'tsvm.cjs'),
});

// Half as much, which loads 2 ms sooner, where a machine can be run to learn what is needed.
const training = spawnSync(process.execPath, [join(root, 'scripts/train.ts')], {
  input: '',
  timeout: TRAINING_TIMEOUT_MS,
});
if (training.status !== 0) {
  process.stderr.write(`no machine runs here yet, so the bundle starts slower: ${training.stderr}`);
}
