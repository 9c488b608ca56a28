/** Entry point when running from source; `start.ts` is that of the bundle. */
import { EXIT_OUR_FAILURE } from './exit-codes.ts';
import { findProgram } from './programs.ts';

try {
  await import(`./${findProgram(process.argv.slice(2)).entry}`);
} catch (error) {
  // Node's own exit code would be 1, which means that the guest crashed.
  process.stderr.write(`tsvm: the installation is incomplete: run "npm run setup" (${error})\n`);
  process.exit(EXIT_OUR_FAILURE);
}
