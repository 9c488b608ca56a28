/**
 * What the bundle starts with: runs the bundled `main.ts` from the bytecode made with it.
 *
 * Node's compile cache has the bytecode of what a module runs at its top level; the functions below
 * it, some 400 before a guest runs, would be compiled at each start, which takes 7 ms.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Script } from 'node:vm';

const filename = join(import.meta.dirname, 'cli.js');
const script = new Script(readFileSync(filename, 'latin1'), {
  filename,
  // Of another Node or other V8 flags, it is ignored.
  cachedData: readFileSync(join(import.meta.dirname, 'cli.bytecode')),
});
script.runInThisContext()(createRequire(filename), import.meta.dirname);
