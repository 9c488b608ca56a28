/** What runs from the source, where there is no bundle: `start.ts` does the same for that. */
import { programName } from './program-name.ts';

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
