/** Builds the default guest, if it is not in the cache: `node guest-images/build.ts`. */
import { ensureDefaultGuest } from './ensure-default-guest.ts';
import { StreamProgress } from './progress.ts';

try {
  await ensureDefaultGuest(new StreamProgress(process.stderr));
} catch (error) {
  process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
