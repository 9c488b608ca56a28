/** What runs from the source, where there is no bundle: `start.ts` does the same for that. */
import { EXIT_OUR_FAILURE } from './exit-codes.ts';

try {
  await (process.argv[2] === 'image' ? import('./image-main.ts') : import('./machine-main.ts'));
} catch (error) {
  // Node's own exit code would be 1, which means that the guest crashed.
  process.stderr.write(`tsvm: it is not installed whole: run "npm run setup" (${error})\n`);
  process.exit(EXIT_OUR_FAILURE);
}
