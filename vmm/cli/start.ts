/**
 * What the bundle starts with: runs a bundled program from the bytecode made with it.
 *
 * Node's compile cache has the bytecode of what a module runs at its top level; the functions below
 * it, some 400 before a guest runs, would be compiled at each start, which takes 7 ms.
 */
import { join } from 'node:path';
import { bundleScript, runBundle } from './bundle-script.ts';
import { EXIT_OUR_FAILURE } from './exit-codes.ts';
import { findProgram } from './programs.ts';

const { name } = findProgram(process.argv.slice(2));
const filename = join(import.meta.dirname, `${name}.js`);
const bytecode = join(import.meta.dirname, `${name}.bytecode`);
try {
  runBundle(bundleScript(filename, bytecode), filename);
} catch (error) {
  // Node's own exit code would be 1, which means that the guest crashed.
  process.stderr.write(`tsvm: the installation is incomplete: run "npm run setup" (${error})\n`);
  process.exit(EXIT_OUR_FAILURE);
}
