import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** The user's home: HOME, or what the system has for the user; neither need exist. */
function homeFolder({ HOME: home }: NodeJS.ProcessEnv): string | undefined {
  if (home !== undefined && isAbsolute(home)) return home;
  try {
    const { homedir } = userInfo();
    return isAbsolute(homedir) ? homedir : undefined;
  } catch {
    // A user id without an entry, as containers have them.
    return undefined;
  }
}

/**
 * tsvm's folder in the user's cache: `${XDG_CACHE_HOME:-~/.cache}/tsvm`, which may not exist yet.
 * Undefined where the user has no home. A relative XDG_CACHE_HOME is ignored, as the XDG Base
 * Directory Specification says, and so is a relative or empty HOME.
 */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const { XDG_CACHE_HOME: base } = env;
  if (base !== undefined && isAbsolute(base)) return join(base, 'tsvm');
  const home = homeFolder(env);
  return home === undefined ? undefined : join(home, '.cache', 'tsvm');
}
