import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** Where root's data is: the File-system Hierarchy Standard's "variable state information". */
const SYSTEM_FOLDER = '/var/lib/tsvm';

/**
 * tsvm's folder for what a user keeps. It may not exist yet. `TSVM_DATA_FOLDER` names another; else
 * it is `/var/lib/tsvm` for root and `${XDG_DATA_HOME:-~/.local/share}/tsvm` for others. A relative
 * path in either variable is ignored, as the XDG Base Directory Specification says.
 */
export function dataFolder(env: NodeJS.ProcessEnv = process.env): string {
  const own = env['TSVM_DATA_FOLDER'];
  if (own !== undefined && isAbsolute(own)) return own;
  if (process.getuid?.() === 0) return SYSTEM_FOLDER;
  const base = env['XDG_DATA_HOME'];
  return join(
    base !== undefined && isAbsolute(base) ? base : join(homedir(), '.local/share'),
    'tsvm',
  );
}
