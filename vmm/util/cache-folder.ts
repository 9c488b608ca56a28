import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/**
 * tsvm's folder in the user's cache: `${XDG_CACHE_HOME:-~/.cache}/tsvm`. It may not exist yet.
 * A relative XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification says.
 */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const base = env['XDG_CACHE_HOME'];
  return join(base !== undefined && isAbsolute(base) ? base : join(homedir(), '.cache'), 'tsvm');
}
