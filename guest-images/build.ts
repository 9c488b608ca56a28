/**
 * Builds the default guest, if it is not in the cache: `node guest-images/build.ts [--tuned-kernel]`.
 * With `--tuned-kernel`, it compiles the tuned kernel, which the default guest uses from then on.
 */

import { StreamProgress } from './build-progress.ts';
import { ensureDefaultGuest } from './ensure-default-guest.ts';

try {
  const tunedKernel = process.argv.includes('--tuned-kernel');
  await ensureDefaultGuest(new StreamProgress(process.stderr), { tunedKernel });
} catch (error) {
  process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
