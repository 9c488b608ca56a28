/**
 * Runs a bundled program in this process, and adds the bytecode of what that took to a file. Fails,
 * with the program's exit code, when that fails.
 *
 * ```
 * train.ts <bundle> <bytecode> <the program's arguments>
 * ```
 */
import { writeFileSync } from 'node:fs';
import { bundleScript, runBundle } from '../vmm/cli/bundle-script.ts';

const [bundle = '', bytecode = ''] = process.argv.splice(2, 2);
const script = bundleScript(bundle, bytecode);
process.on('exit', (code) => {
  if (code === 0) writeFileSync(bytecode, script.createCachedData());
});
runBundle(script, bundle);
