/** What runs from the source, where there is no bundle: `start.ts` does the same for that. */
import { EXIT_OUR_FAILURE } from './exit-codes.ts';
import { programName } from './program-name.ts';

try {
  switch (programName(process.argv.slice(2))) {
    case 'container':
      await import('./container-main.ts');
      break;
    case 'image':
      await import('./image-main.ts');
      break;
    case 'cli':
      await import('./machine-main.ts');
  }
} catch (error) {
  // Node's own exit code would be 1, which means that the guest crashed.
  process.stderr.write(`tsvm: it is not installed whole: run "npm run setup" (${error})\n`);
  process.exit(EXIT_OUR_FAILURE);
}
