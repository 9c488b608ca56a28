/**
 * What the bundle starts with: runs the bundled `main.ts` from the bytecode made with it.
 *
 * Node's compile cache has the bytecode of what a module runs at its top level; the functions below
 * it, some 400 before a guest runs, would be compiled at each start, which takes 7 ms.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';

const filename = join(import.meta.dirname, 'cli.js');
const bytecode = join(import.meta.dirname, 'cli.bytecode');
const script = new Script(readFileSync(filename, 'latin1'), {
  filename,
  // There is none while the bundle is made. Of another Node or other V8 flags, it is ignored.
  ...(existsSync(bytecode) && { cachedData: readFileSync(bytecode) }),
});
script.runInThisContext()(createRequire(filename), import.meta.dirname);
