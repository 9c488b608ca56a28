/**
 * Runs a bundled program in this process and adds the bytecode of the functions it used to a file.
 * Exits with the program's exit code if it fails.
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
