/**
 * Runs a bundled program in this process, and writes the bytecode of the functions it used beside
 * each file that it loaded. Exits with the program's exit code if it fails.
 *
 * ```
 * train.ts <folder of the bundle> <program> <the program's arguments>
 * ```
 */
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Bundle } from '../vmm/cli/bundle.ts';

const [folder = '', program = ''] = process.argv.splice(2, 2);
const bundle = new Bundle(folder, program, createRequire(import.meta.filename));
process.on('exit', (code) => {
  if (code !== 0) return;
  for (const [name, script] of bundle.scripts) {
    writeFileSync(join(folder, `${name}.bytecode`), script.createCachedData());
  }
});
bundle.run();
