import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * The installed version of a Debian package.
 * @throws Error when it is not installed.
 */
export async function packageVersion(name: string): Promise<string> {
  try {
    // Prints `name<TAB>version`, with an empty version for a package that was removed.
    const { stdout } = await run('dpkg-query', ['--show', name]);
    const version = stdout.trim().split('\t')[1];
    if (version !== undefined) {
      return version;
    }
  } catch (cause) {
    throw notInstalled(name, cause);
  }
  throw notInstalled(name);
}

function notInstalled(name: string, cause?: unknown): Error {
  return new Error(`The package ${name} is not installed; run scripts/setup.sh.`, { cause });
}

/** Whether a Debian package is installed. */
export async function isInstalled(name: string): Promise<boolean> {
  return packageVersion(name).then(
    () => true,
    () => false,
  );
}
