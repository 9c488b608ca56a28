import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Script } from 'node:vm';

/**
 * Loads a bundled program.
 * @param bytecode file with V8's code cache for it. Functions that it lacks are compiled on first
 * call. It is ignored when it is missing or made by another Node version or with other V8 flags.
 */
export function bundleScript(filename: string, bytecode: string): Script {
  return new Script(readFileSync(filename, 'latin1'), {
    filename,
    ...(existsSync(bytecode) && { cachedData: readFileSync(bytecode) }),
  });
}

/** Runs a bundle: a function that takes `require` and `__dirname`, which a vm.Script lacks. */
export function runBundle(script: Script, filename: string): void {
  script.runInThisContext()(createRequire(filename), dirname(filename));
}
