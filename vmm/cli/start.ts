/**
 * What the bundle starts with: runs a bundled program from the bytecode made with it.
 *
 * Node's compile cache has the bytecode of what a module runs at its top level; the functions below
 * it, some 400 before a guest runs, would be compiled at each start, which takes 7 ms. To load what
 * is not needed takes time as well: there is bytecode for each of the ways that start-up takes.
 */
import { join } from 'node:path';
import { bundleScript, runBundle } from './bundle-script.ts';
import { EXIT_OUR_FAILURE } from './exit-codes.ts';
import { programName } from './program-name.ts';

const [, , ...args] = process.argv;
const program = programName(args);
// A guess. The wrong bytecode is slower, and all that is.
const usesQcow2 = program === 'cli' && args.some((word) => word.includes('qcow2'));
const filename = join(import.meta.dirname, `${program}.js`);
const bytecode = `${usesQcow2 ? 'cli-qcow2' : program}.bytecode`;
try {
  runBundle(bundleScript(filename, join(import.meta.dirname, bytecode)), filename);
} catch (error) {
  // Node's own exit code would be 1, which means that the guest crashed.
  process.stderr.write(`tsvm: it is not installed whole: run "npm run setup" (${error})\n`);
  process.exit(EXIT_OUR_FAILURE);
}
