import { join } from 'node:path';
import type * as Addon from '../../kvm-addon/index.d.ts';
import { TsvmError } from '../errors.ts';
import { once } from '../util/once.ts';
import { packageRoot } from '../util/package-root.ts';

/** The native addon, loaded at the first call. */
export const loadAddon = once((): typeof Addon => {
  const path = join(packageRoot(), 'kvm-addon/build/Release/tsvm.node');
  const addon = { exports: {} };
  try {
    // As `require` would, without its search.
    process.dlopen(addon, path);
  } catch (cause) {
    throw new TsvmError(
      'kvm-unavailable',
      `the native addon ${path} cannot be loaded: run "npm run setup"`,
      { cause },
    );
  }
  return addon.exports as typeof Addon;
});
