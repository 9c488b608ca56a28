/**
 * What the bundle starts with: turns on Node's compile cache, which has to happen before the module
 * that it is to serve, the bundled `main.ts`, is loaded.
 */
import { createRequire, enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { cacheFolder } from '../util/cache-folder.ts';
import { packageRoot } from '../util/package-root.ts';

enableCompileCache(join(cacheFolder(), 'compile'));
createRequire(join(packageRoot(), 'package.json'))('./dist/cli.cjs');
