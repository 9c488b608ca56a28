/**
 * Entry point of the bundle: runs a bundled program with its bytecode.
 *
 * Node's compile cache contains only the bytecode of a module's top level. The functions called
 * before a guest runs, about 400, would be compiled at each start, which takes 7 ms.
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
