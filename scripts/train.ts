/**
 * Runs a bundled program in this process, and writes the bytecode of the functions it used beside
 * each file that it loaded. Exits with the program's exit code if it fails. A process that the program
 * starts as it was started itself is trained as well.
 *
 * ```
 * TSVM_TRAINING=<folder of the bundle> train.ts <a command line of tsvm>
 * ```
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Bundle } from '../vmm/cli/bundle.ts';
import { findProgram } from '../vmm/cli/programs.ts';

const folder = process.env['TSVM_TRAINING'] ?? '';
const { name } = findProgram(process.argv.slice(2));
const bundle = new Bundle(folder, name);
process.on('exit', (code) => {
  if (code !== 0) return;
  // The program's own file comes last: `bundle.ts` waits for it.
  for (const [file, script] of Array.from(bundle.scripts).reverse()) {
    writeFileSync(join(folder, `${file}.bytecode`), script.createCachedData());
  }
});
bundle.run();
