/** Builds the default guest, if it is not in the cache: `node guest-images/build.ts`. */

import { StreamProgress } from './build-progress.ts';
import { ensureDefaultGuest } from './ensure-default-guest.ts';

try {
  await ensureDefaultGuest(new StreamProgress(process.stderr));
} catch (error) {
  process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
