import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Script } from 'node:vm';

/**
 * A bundled program that is ready to run.
 * @param bytecode V8's code cache of it, perhaps from a run that took other ways: what it lacks is
 * compiled when it is called. Of another Node or other V8 flags, or absent, it is ignored.
 */
export function bundleScript(filename: string, bytecode: string): Script {
  return new Script(readFileSync(filename, 'latin1'), {
    filename,
    ...(existsSync(bytecode) && { cachedData: readFileSync(bytecode) }),
  });
}

/** A bundle is a function of what a module of Node has, and a script of `node:vm` lacks. */
export function runBundle(script: Script, filename: string): void {
  script.runInThisContext()(createRequire(filename), dirname(filename));
}
