/** Entry point of the bundle: runs a bundled program. */
import { loadAddon } from '../host/addon.ts';
import { Bundle } from './bundle.ts';
import { EXIT_OUR_FAILURE } from './exit-codes.ts';
import { findProgram } from './programs.ts';

/**
 * Ends the effect of the option that `bin/tsvm` starts a boot with: V8 accepts bytecode, Node's own
 * too, only under the options that it was made with.
 */
function restoreV8Options(): void {
  if (!process.execArgv.includes('--no-rehash-snapshot')) return;
  try {
    loadAddon().setV8Option('--rehash-snapshot');
  } catch {
    // The program needs the addon too, and reports why it cannot be loaded.
  }
}

try {
  restoreV8Options();
  new Bundle(import.meta.dirname, findProgram(process.argv.slice(2)).name).run();
} catch (error) {
  // Node's own exit code would be 1, which means that the guest crashed.
  process.stderr.write(`tsvm: the installation is incomplete: run "npm run setup" (${error})\n`);
  process.exit(EXIT_OUR_FAILURE);
}
