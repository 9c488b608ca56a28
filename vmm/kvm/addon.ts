import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as Addon from '../../kvm-addon/index.d.ts';
import { TsvmError } from '../errors.ts';
import { packageRoot } from '../util/package-root.ts';

/** The native addon; `require` keeps it, so that every call gives the same object. */
export function loadAddon(): typeof Addon {
  const root = packageRoot();
  const path = join(root, 'kvm-addon/build/Release/tsvm.node');
  try {
    return createRequire(join(root, 'package.json'))(path) as typeof Addon;
  } catch (cause) {
    throw new TsvmError(
      'kvm-unavailable',
      `the native addon ${path} cannot be loaded: run "npm run setup"`,
      { cause },
    );
  }
}
