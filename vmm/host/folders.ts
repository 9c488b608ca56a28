/**
 * Where tsvm keeps files on the host. Root's folders are those of the Filesystem Hierarchy Standard
 * 3.0, which services and every login share; other users have those of the XDG Base Directory
 * Specification 0.8. None of them need exist yet.
 */
import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';

interface FolderRule {
  /** Root's folder. */
  readonly fhs: string;
  /** The environment variable that names the parent of a user's folder. */
  readonly xdg: string;
  /** That parent, relative to the home folder, where the variable is not set. */
  readonly home?: string;
  /** Whether the variable counts for root too. */
  readonly rootHeedsXdg: boolean;
}

const CACHE: FolderRule = {
  fhs: '/var/cache/tsvm',
  xdg: 'XDG_CACHE_HOME',
  home: '.cache',
  rootHeedsXdg: true,
};
const DATA: FolderRule = {
  fhs: '/var/lib/tsvm',
  xdg: 'XDG_DATA_HOME',
  home: '.local/share',
  rootHeedsXdg: false,
};
const STATE: FolderRule = {
  fhs: '/var/lib/tsvm',
  xdg: 'XDG_STATE_HOME',
  home: '.local/state',
  rootHeedsXdg: false,
};
const LOG: FolderRule = {
  fhs: '/var/log/tsvm',
  xdg: 'XDG_STATE_HOME',
  home: '.local/state',
  rootHeedsXdg: false,
};
const RUNTIME: FolderRule = { fhs: '/run/tsvm', xdg: 'XDG_RUNTIME_DIR', rootHeedsXdg: false };

/** Files that can be made again: unpacked kernels, what was found out about the host. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  return folder(CACHE, env);
}

/** What a user has asked tsvm to keep: images. `TSVM_DATA_FOLDER` names another folder. */
export function dataFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const own = absolute(env['TSVM_DATA_FOLDER']);
  return own ?? folder(DATA, env);
}

/** What must outlive a restart of the host, but belongs to this host alone: machines. */
export function stateFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  return folder(STATE, env);
}

/**
 * Sockets and locks of running machines; emptied when the host starts. `TSVM_RUNTIME_FOLDER` names
 * another folder.
 */
export function runtimeFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  return absolute(env['TSVM_RUNTIME_FOLDER']) ?? folder(RUNTIME, env);
}

/** Messages of machines without a terminal. `TSVM_LOG_FOLDER` names another folder. */
export function logFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  return absolute(env['TSVM_LOG_FOLDER']) ?? folder(LOG, env);
}

/** Folders of configuration files: the user's own, root's too, then the host's. */
export function configFolders(env: NodeJS.ProcessEnv = process.env): string[] {
  const home = homeFolder(env);
  const base = absolute(env['XDG_CONFIG_HOME']) ?? (home && join(home, '.config'));
  return base === undefined ? ['/etc/tsvm'] : [join(base, 'tsvm'), '/etc/tsvm'];
}

/** Undefined for a user without a home folder, where no variable says otherwise. */
function folder(rule: FolderRule, env: NodeJS.ProcessEnv): string | undefined {
  const isRoot = process.geteuid?.() === 0;
  const base = isRoot && !rule.rootHeedsXdg ? undefined : absolute(env[rule.xdg]);
  if (base !== undefined) return join(base, 'tsvm');
  if (isRoot) return rule.fhs;
  const home = rule.home === undefined ? undefined : homeFolder(env);
  return home === undefined ? undefined : join(home, rule.home ?? '', 'tsvm');
}

/** The user's home: HOME, or the entry in the user database. It need not exist. */
export function homeFolder(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const home = absolute(env['HOME']);
  if (home !== undefined) return home;
  try {
    return absolute(userInfo().homedir);
  } catch {
    // A user id without an entry, as containers have them.
    return undefined;
  }
}

/** "All paths set in these environment variables must be absolute. [Others] should be ignored." */
function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}
