import { join } from 'node:path';
import type * as Addon from '../../kvm-addon/index.d.ts';
import { TsvmError } from '../errors.ts';
import { once } from '../util/once.ts';
import { packageRoot } from '../util/package-root.ts';

/** What dlerror(3) says for EMFILE. */
const TOO_MANY_FILES = 'Too many open files';

/** Addons by their path: the bundle has this module in what starts a program, and in the program. */
const opened = globalThis as Record<symbol, typeof Addon | undefined>;

/** The native addon, loaded at the first call. */
export const loadAddon = once((): typeof Addon => {
  const path = join(packageRoot(), 'kvm-addon/build/Release/tsvm.node');
  const key = Symbol.for(path);
  const addon = opened[key] ?? open(path);
  opened[key] = addon;
  return addon;
});

function open(path: string): typeof Addon {
  const addon = { exports: {} };
  try {
    // As `require` would, without its search.
    process.dlopen(addon, path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const advice = reason.includes(TOO_MANY_FILES)
      ? 'allow more open files ("ulimit -n 1024")'
      : 'run "npm run setup" in a checkout, "npm rebuild tsvm" where the package is installed';
    throw new TsvmError(
      'kvm-unavailable',
      `the native addon cannot be loaded (${reason}): ${advice}`,
      { cause },
    );
  }
  return addon.exports as typeof Addon;
}
